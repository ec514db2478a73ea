// Shows /openapi.json. Text goes in as text nodes only.
const place = document.getElementById("docs");

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return schema.prefixItems ? `[${schema.prefixItems.map(typeOf).join(", ")}]` : `${typeOf(schema.items)}[]`;
  if (schema.type === "object" && schema.additionalProperties) return `{string: ${typeOf(schema.additionalProperties) || "any"}}`;
  return schema.type ?? "any";
}

function table(heads, rows) {
  const body = element("tbody", "", ...rows.map((row) => {
    const line = element("tr");
    row.forEach((cell, index) => {
      const made = element("td", cell);
      if (index === 0) made.className = "name";
      line.append(made);
    });
    return line;
  }));
  return element("table", "", element("thead", "", element("tr", "", ...heads.map((head) => element("th", head)))), body);
}

function content(body) {
  return Object.entries(body?.content ?? {}).map(([type, what]) => `${type}: ${typeOf(what.schema)}`).join(", ");
}

function operation(method, path, what) {
  const summary = element("summary", "", element("b", method.toUpperCase()), element("code", path), ` ${what.description ?? ""}`);
  const details = element("details", "", summary);
  if (what.parameters?.length) {
    details.append(table(["parameter", "in", "type", ""], what.parameters.map((one) =>
      [one.name, one.in, typeOf(one.schema), one.description ?? one.schema?.description ?? ""])));
  }
  if (what.requestBody) details.append(element("p", `Body: ${content(what.requestBody)}`));
  details.append(table(["status", "answer", ""], Object.entries(what.responses).map(([status, answer]) =>
    [status, content(answer), answer.description ?? ""])));
  return details;
}

const answer = await fetch("/openapi.json");
const schema = await answer.json();
place.replaceChildren(element("p", schema.info.description), element("h2", "Routes"));
for (const [path, methods] of Object.entries(schema.paths)) {
  for (const [method, what] of Object.entries(methods)) place.append(operation(method, path, what));
}
place.append(element("h2", "Shapes"));
for (const [name, shape] of Object.entries(schema.components.schemas)) {
  const rows = Object.entries(shape.properties ?? {}).map(([key, value]) => [key, typeOf(value), value.description ?? ""]);
  place.append(element("details", "", element("summary", "", element("b", name), ` ${shape.description ?? ""}`), table(["field", "type", ""], rows)));
}
