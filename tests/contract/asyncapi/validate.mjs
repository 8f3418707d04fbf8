// Reads a list of AsyncAPI documents, each as a text, from standard input and says what the official parser finds
// in each.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const names = ['error', 'warning', 'information', 'hint'];
const parser = new Parser();
const found = [];
for (const text of JSON.parse(readFileSync(0, 'utf8'))) {
  const diagnostics = await parser.validate(text);
  found.push(diagnostics.map(({ severity, code, path, message }) => ({
    severity: names[severity], code, path: path.join('.'), message,
  })));
}
console.log(JSON.stringify(found));
