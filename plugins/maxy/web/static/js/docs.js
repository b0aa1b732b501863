/**
 * The page of the API: its OpenAPI document, for people.
 * @module docs
 */

import { ApiError, ask } from "./api.js";
import { setBanner } from "./banners.js";
import { byId, el, fill } from "./dom.js";
import { t } from "./i18n.js";
import { operations } from "./openapi.js";
import { markReady, startPage } from "./page.js";

startPage();
try {
  const document = await ask("openapi.json");
  show(document);
} catch (error) {
  if (!(error instanceof ApiError)) {
    throw error;
  }
  setBanner("docs", { tone: "bad", text: t("docs.failed"), items: [error.text] });
}
markReady();

function show(document) {
  const { title = "", version = "", description = "" } = document.info ?? {};
  fill(byId("about"), el("p", {}, el("strong", {}, title), ` ${version}`), paragraphs(description));
  const all = operations(document);
  byId("contents").hidden = false;
  fill(
    byId("contents-list"),
    all.map((one) => el("li", {}, el("a", { href: `#${idOf(one)}` }, heading(one)), one.summary)),
  );
  fill(byId("routes"), all.map(route));
}

function idOf({ method, path }) {
  return `${method}-${path}`.toLowerCase().replace(/[^a-z0-9]+/g, "-");
}

function heading({ method, path }) {
  return el("code", {}, `${method} ${path}`);
}

function route(operation) {
  const { summary, description, parameters, answers } = operation;
  const id = idOf(operation);
  return el(
    "section",
    { class: "card", id, "aria-labelledby": `${id}-title`, "data-route": operation.path },
    el("h2", { id: `${id}-title` }, heading(operation)),
    // FastAPI writes this document, in English.
    el(
      "div",
      { class: "prose", lang: "en" },
      summary && el("p", {}, el("strong", {}, summary)),
      paragraphs(description),
    ),
    el("p", {}, el("code", {}, curl(operation))),
    parameters.length > 0 && parameterTable(operation, parameters),
    el("h3", {}, t("docs.answers")),
    answers.map((one) => answer(operation, one)),
  );
}

/** The route as a command, with the parameters that it needs. */
function curl({ method, path, parameters }) {
  const needed = parameters.filter(({ isRequired }) => isRequired).map(({ name }) => `${name}=…`);
  const url = new URL(path.replace(/^\//, ""), location.href);
  const options = method === "GET" ? "" : ` -X ${method}`;
  return `curl${options} -H "Authorization: Bearer $TOKEN" "${url}${needed.length ? `?${needed.join("&")}` : ""}"`;
}

function paragraphs(text) {
  return text
    .split(/\n\s*\n/)
    .filter(Boolean)
    .map((part) => el("p", {}, part));
}

function parameterTable(operation, parameters) {
  const rows = parameters.map((one) => [one.name, one.place, one.type, yesOrNo(one.isRequired), one.description]);
  const titles = ["name", "place", "type", "required", "description"];
  return [el("h3", {}, t("docs.parameters")), table(`${t("docs.parameters")}: ${operation.path}`, titles, rows)];
}

function answer(operation, { status, description, media, fields }) {
  const line = el(
    "p",
    {},
    el("span", { class: "badge" }, status),
    " ",
    el("span", { lang: "en" }, description),
    " ",
    el("span", { class: "muted" }, media),
  );
  if (fields.length === 0) {
    return line;
  }
  const rows = fields.map((one) => [one.name, one.type, yesOrNo(one.isRequired), one.description]);
  const label = `${t("docs.fields", { status })}: ${operation.path}`;
  return el(
    "details",
    { open: status.startsWith("2") },
    el("summary", {}, line),
    table(label, ["name", "type", "always", "description"], rows),
  );
}

function table(label, titles, rows) {
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": label },
    el(
      "table",
      {},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          titles.map((name) => el("th", { scope: "col" }, t(`docs.${name}`))),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map(([name, ...cells]) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, el("code", {}, name)),
            cells.map((text) => el("td", {}, text)),
          ),
        ),
      ),
    ),
  );
}

function yesOrNo(value) {
  return t(value ? "docs.yes" : "docs.no");
}
