// Reads AsyncAPI documents with the parser of the AsyncAPI project; one line of JSON per file.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'));
  const found = diagnostics.map((one) => ({
    severity: one.severity, // 0 error, 1 warning, 2 information, 3 hint
    code: one.code,
    path: one.path.join('.'),
    message: one.message,
  }));
  const channels = document ? document.channels().all().map((one) => one.address()) : null;
  const operations = document ? document.operations().all().map((one) => one.id()) : null;
  console.log(JSON.stringify({ channels, operations, diagnostics: found }));
}
