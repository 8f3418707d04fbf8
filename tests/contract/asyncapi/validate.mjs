// Reads an AsyncAPI document from standard input and says what the official parser finds in it.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const diagnostics = await new Parser().validate(readFileSync(0, 'utf8'));
const names = ['error', 'warning', 'information', 'hint'];
const found = diagnostics.map(({ severity, code, path, message }) => ({
  severity: names[severity], code, path: path.join('.'), message,
}));
console.log(JSON.stringify(found));
