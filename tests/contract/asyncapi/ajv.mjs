// Reads {schemas, bodies} from standard input: compiles each schema as Ajv does by default, strictly, and says
// what it minds and which of the bodies each lets pass.
import { readFileSync } from 'node:fs';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const { schemas, bodies } = JSON.parse(readFileSync(0, 'utf8'));
const minded = [];
const logger = { log() {}, warn: (text) => minded.push(text), error: (text) => minded.push(text) };
const ajv = addFormats.default(new Ajv2020.default({ logger }));
const passed = {};
for (const [name, schema] of Object.entries(schemas)) {
  try {
    const validate = ajv.compile(schema);
    passed[name] = bodies[name].map((body) => validate(body));
  } catch (error) {
    minded.push(`${name}: ${error.message}`);
  }
}
console.log(JSON.stringify({ minded, passed }));
