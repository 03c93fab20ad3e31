// check.mjs DOCUMENT.json SAMPLES.json: exits with 0 if the document is valid without a warning, its examples are as its
// schemas say, and every sample {"schema", "value", "valid"} is judged by its schema as the programs judge it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PACKAGES}/`);
const { Parser } = require("@asyncapi/parser");
const { default: Ajv } = require("ajv/dist/2020.js");
const addFormats = require("ajv-formats");

const [documentPath, samplesPath] = process.argv.slice(2);
const text = readFileSync(documentPath, "utf8");
const problems = [];

const { diagnostics } = await new Parser().parse(text, { source: documentPath });
for (const { severity, message, path, code } of diagnostics) {
  // Errors and warnings; what else there is are hints, such as that a newer version of AsyncAPI came out.
  if (severity <= 1) problems.push(`${path.join("/")}: ${message} (${code})`);
}

const api = JSON.parse(text);
const ajv = new Ajv({ strict: false, validateSchema: false, allErrors: true });
addFormats.default ? addFormats.default(ajv) : addFormats(ajv);
ajv.addSchema({ $id: "api", ...api });
const schemaOf = (name) => ajv.getSchema(`api#/components/schemas/${name}`);
const explain = (validate) => ajv.errorsText(validate.errors);

let examples = 0;
for (const [name, message] of Object.entries(api.components.messages)) {
  for (const example of message.examples ?? []) {
    const validate = ajv.getSchema(`api#/components/messages/${name}/payload`);
    examples += 1;
    if (!validate(example.payload)) problems.push(`example "${example.name}" of ${name}: ${explain(validate)}`);
  }
}
const samples = JSON.parse(readFileSync(samplesPath, "utf8"));
for (const { schema, value, valid } of samples) {
  const validate = schemaOf(schema);
  if (!validate) problems.push(`there is no schema ${schema}`);
  else if (validate(value) !== valid) {
    const verdict = valid ? `refuses what is taken: ${explain(validate)}` : "takes what is refused";
    problems.push(`schema ${schema} ${verdict}: ${JSON.stringify(value).slice(0, 200)}`);
  }
}
for (const problem of problems) console.error(problem);
console.log(`${examples} examples and ${samples.length} samples, ${problems.length} problems`);
process.exitCode = problems.length === 0 && examples > 10 && samples.length > 50 ? 0 : 1;
