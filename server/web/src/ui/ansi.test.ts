import { expect, test } from "vitest";
import { bare, spans } from "./ansi";

test("colours become classes, and end where they end", () => {
  expect(spans("a \x1b[1;31mred\x1b[0m b")).toEqual([
    { text: "a ", className: "" },
    { text: "red", className: "ansi-red ansi-bold" },
    { text: " b", className: "" },
  ]);
});

test("colours by number are passed over without eating what follows", () => {
  expect(spans("\x1b[38;5;9mone\x1b[38;2;1;2;3mtwo\x1b[39;4mthree")).toEqual([
    { text: "one", className: "ansi-red" },
    { text: "two", className: "ansi-red" },
    { text: "three", className: "ansi-underlined" },
  ]);
});

test("what else a terminal would do leaves nothing", () => {
  expect(bare("\x1b]0;title\x07\x1b[2Kx\x1b[Ay\x1b[32mz")).toBe("xyz");
});
