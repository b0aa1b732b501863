/**
 * What an OpenAPI document says, as plain lists.
 * @module openapi
 */

const METHODS = ["get", "put", "post", "delete", "patch"];
// A schema may contain itself.
const DEEPEST = 4;
const LIMITS = [
  ["minimum", "≥"],
  ["exclusiveMinimum", ">"],
  ["maximum", "≤"],
  ["exclusiveMaximum", "<"],
  ["minLength", "length ≥"],
  ["maxLength", "length ≤"],
  ["maxItems", "items ≤"],
  ["pattern", "matches"],
];

/**
 * @typedef {object} Field
 * @property {string} name with the names of the objects around it
 * @property {string} type
 * @property {boolean} isRequired
 * @property {string} description
 */

/**
 * @typedef {object} Operation
 * @property {string} method
 * @property {string} path
 * @property {string} summary
 * @property {string} description
 * @property {(Field & {place: string})[]} parameters
 * @property {{status: string, description: string, media: string, fields: Field[]}[]} answers
 */

/**
 * The operations of a document, in its order.
 * @param {object} document
 * @returns {Operation[]}
 */
export function operations(document) {
  const found = [];
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    for (const method of METHODS.filter((name) => name in item)) {
      found.push(operation(document, path, method, item));
    }
  }
  return found;
}

function operation(document, path, method, item) {
  const { summary = "", description = "", parameters = [], responses = {} } = item[method];
  return {
    method: method.toUpperCase(),
    path,
    summary,
    description,
    parameters: [...(item.parameters ?? []), ...parameters].map((given) => parameter(document, given)),
    answers: Object.entries(responses).map(([status, given]) => answer(document, status, given)),
  };
}

function parameter(document, given) {
  const { name, in: place, required = false, description, schema = {} } = resolved(document, given);
  const { description: other = "" } = resolved(document, schema);
  return { name, place, isRequired: required, description: description ?? other, type: typeOf(document, schema) };
}

function answer(document, status, given) {
  const { description = "", content = {} } = resolved(document, given);
  const [media = "", { schema } = {}] = Object.entries(content)[0] ?? [];
  return { status, description, media, fields: schema ? fieldsOf(document, schema, "", 0) : [] };
}

/** The fields of an object, those of the objects in it too. */
function fieldsOf(document, schema, prefix, depth) {
  const { properties, required = [], items, anyOf, additionalProperties } = resolved(document, schema);
  if (depth > DEEPEST) {
    return [];
  }
  if (items) {
    return fieldsOf(document, items, `${prefix}[]`, depth + 1);
  }
  if (anyOf) {
    return anyOf.flatMap((part) => fieldsOf(document, part, prefix, depth + 1));
  }
  if (!properties && typeof additionalProperties === "object") {
    return fieldsOf(document, additionalProperties, prefix ? `${prefix}.{…}` : "{…}", depth + 1);
  }
  return Object.entries(properties ?? {}).flatMap(([name, part]) => {
    const full = prefix ? `${prefix}.${name}` : name;
    const { description = "" } = { ...resolved(document, part), ...part };
    const field = { name: full, type: typeOf(document, part), isRequired: required.includes(name), description };
    return [field, ...fieldsOf(document, part, full, depth + 1)];
  });
}

function typeOf(document, schema) {
  const full = resolved(document, schema);
  if (full.anyOf ?? full.oneOf) {
    return (full.anyOf ?? full.oneOf).map((part) => typeOf(document, part)).join(" | ");
  }
  if (full.enum ?? full.const) {
    return [full.enum ?? full.const]
      .flat()
      .map((value) => JSON.stringify(value))
      .join(" | ");
  }
  if (full.type === "array") {
    return `${full.items ? typeOf(document, full.items) : "any"}[]`;
  }
  const limits = LIMITS.filter(([name]) => name in full).map(([name, sign]) => `${sign} ${full[name]}`);
  if (full.default !== undefined && full.default !== null) {
    limits.push(`default ${JSON.stringify(full.default)}`);
  }
  const name = [[full.type ?? "any"].flat().join(" | "), full.format && `(${full.format})`].filter(Boolean).join(" ");
  return [name, ...limits].join(", ");
}

/** Follow a reference within the document. */
function resolved(document, part) {
  if (!part?.$ref) {
    return part ?? {};
  }
  const names = part.$ref
    .replace(/^#\//, "")
    .split("/")
    .map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.reduce((found, name) => found?.[name], document) ?? {};
}
