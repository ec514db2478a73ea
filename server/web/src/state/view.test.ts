import { expect, test } from "vitest";
import { duration, number, show } from "../ui/format";
import { parseRoute, runHref } from "./location";
import { matcher } from "./view";

test("addresses keep ids that hold slashes and percent signs", () => {
  expect(parseRoute(runHref("me", "a/b", "50%~ü"))).toEqual({ page: "run", entity: "me", project: "a/b", id: "50%~ü" });
  expect(parseRoute("/%zz/a")).toEqual({ page: "unknown" });
});

test("half a regular expression is searched as text", () => {
  expect(matcher("val/.*acc")("val/top1_acc")).toBe(true);
  expect(matcher("loss(")("my LOSS(1)")).toBe(true);
});

test("values that JSON cannot hold are shown", () => {
  expect(show({ $float: "nan" })).toBe("NaN");
  expect(show({ $float: "-inf" })).toBe("−∞");
  expect(show({ $int: "12345678901234567890" })).toBe("12,345,678,901,234,567,890");
  expect(show({ a: { $float: "inf" } })).toBe('{"a":"∞"}');
});

test("numbers and durations are short", () => {
  expect(number(0.1 + 0.2)).toBe("0.3");
  expect(number(-1234567)).toBe("-1,234,567");
  expect(number(1.5e-9)).toBe("1.5e-9");
  expect(duration(3725)).toBe("1h 02m");
  expect(duration(0.0123)).toBe("12.3 ms");
});
