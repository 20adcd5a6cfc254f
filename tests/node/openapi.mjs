// Reads OpenAPI documents by the rules of the NL API Design Rules (Logius, ADR 2.1) that a machine can
// check, with Spectral as their own linter does, on top of Spectral's rules for any OpenAPI document; one
// line of JSON per file: the rules that are broken. The rules for any document take seconds: files whose
// name begins with "any" only.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import core from '@stoplight/spectral-core';
import functions from '@stoplight/spectral-functions';
import rulesets from '@stoplight/spectral-rulesets';

const { pattern, schema, truthy } = functions;
const OPERATIONS = '$.paths[*][get,put,post,patch,delete]';
const GOOD = "$.paths[*][*].responses[?(@property.match(/^[23]/))]";
const BAD = "$.paths[*][*].responses[?(@property.match(/^[45]/))]";

/** A rule: where to look, and what must hold there. */
const rule = (given, then, message) => ({ given, then, message, severity: 0, resolved: true });
const match = (text, field) => ({ function: pattern, functionOptions: { match: text }, ...(field && { field }) });
const never = (text, field) => ({ function: pattern, functionOptions: { notMatch: text }, ...(field && { field }) });
const shape = (wanted) => ({ function: schema, functionOptions: { schema: wanted, dialect: 'draft2020-12' } });
const own = (check) => ({ function: check });

/** Operation ids are there and each once. */
function uniqueNames(document) {
  const seen = new Set();
  const found = [];
  for (const [path, methods] of Object.entries(document.paths))
    for (const [method, one] of Object.entries(methods)) {
      const name = one.operationId;
      if (!name || seen.has(name)) found.push({ message: `operation id ${name}`, path: ['paths', path, method] });
      seen.add(name);
    }
  return found;
}

/** Every parameter in a path is described, and no other. */
function pathParameters(document) {
  const found = [];
  for (const [path, methods] of Object.entries(document.paths))
    for (const [method, one] of Object.entries(methods)) {
      const wanted = [...path.matchAll(/{(\w+)}/g)].map((part) => part[1]).sort().join();
      const said = (one.parameters || []).filter((part) => part.in === 'path').map((part) => part.name).sort().join();
      if (wanted !== said) found.push({ message: `parameters ${said}, not ${wanted}`, path: ['paths', path, method] });
    }
  return found;
}

const rules = {
  'doc-openapi': rule('$', match('^3\\.\\d+\\.\\d+$', 'openapi'), 'is OpenAPI 3'),
  'doc-openapi-contact': rule('$.info', shape({ required: ['contact'], properties: { contact: { required: ['name', 'email', 'url'] } } }), 'names a contact'),
  semver: rule('$.info', match('^\\d+\\.\\d+\\.\\d+(-[0-9A-Za-z.-]+)?$', 'version'), 'has a semantic version'),
  'uri-version': rule('$.servers[*]', match('/v\\d+$', 'url'), 'has the major version in its address'),
  'servers-https': rule('$.servers[*]', never('^http://', 'url'), 'is not served in clear'),
  'version-header': rule(GOOD, { field: 'headers.API-Version', function: truthy }, 'answers with the full version'),
  'no-trailing-slash': rule('$.paths', { ...never('.+/$'), field: '@key' }, 'has no trailing slash'),
  'path-segments-kebab-case': rule('$.paths', { ...match('^(/([a-z0-9]+(-[a-z0-9]+)*(\\.json)?|{\\w+}))+/?$'), field: '@key' }, 'is kebab-case'),
  'query-keys-camel-case': rule(`${OPERATIONS}.parameters[?(@.in=='query')]`, match('^[a-z][a-z0-9]*([A-Z][a-z0-9]*)*$', 'name'), 'is camelCase'),
  'schema-camel-case': rule('$.components.schemas', { ...match('^[A-Z][A-Za-z0-9]*$'), field: '@key' }, 'is UpperCamelCase'),
  'http-methods': rule('$.paths[*]', { ...match('^(get|put|post|patch|delete|parameters)$'), field: '@key' }, 'is a standard method'),
  'operation-id-unique': rule('$', own(uniqueNames), 'has a name of its own'),
  'path-params': rule('$', own(pathParameters), 'describes its parameters'),
  'problem-details': rule(BAD, shape({ required: ['content'], properties: { content: { required: ['application/problem+json'] } } }), 'is a problem detail (RFC 9457)'),
  'problem-members': rule(`${BAD}.content['application/problem+json'].schema`, shape({ properties: { properties: { required: ['status', 'title', 'detail'] } }, required: ['properties'] }), 'has status, title and detail'),
  'invalid-input': rule('$.paths[*][put,post,patch]', shape({ properties: { responses: { required: ['400'] } } }), 'can answer 400'),
  'invalid-query': rule('$.paths[*][get,delete]', shape({ if: { required: ['parameters'] }, then: { properties: { responses: { required: ['400'] } } } }), 'can answer 400'),
  'openapi-published': rule("$.paths['/openapi.json']", shape({ required: ['get'] }), 'is published'),
  'openapi-published-path': rule('$.paths', { field: '/openapi.json', function: truthy }, 'is published'),
  'openapi-cors': rule("$.paths['/openapi.json'].get.responses['200']", { field: 'headers.Access-Control-Allow-Origin', function: truthy }, 'may be read by tools of other sites'),
  timezone: rule("$.components.schemas[*].properties[?(@ && @.format)]", never('^(date-time-local|time)$', 'format'), 'has a time zone'),
};

const linter = (ruleset) => {
  const spectral = new core.Spectral();
  spectral.setRuleset(ruleset);
  return spectral;
};
const [whole, ours] = [linter({ extends: [[rulesets.oas, 'recommended']], rules }), linter({ rules })];

for (const file of process.argv.slice(2)) {
  const any = basename(file).startsWith('any');
  const found = await (any ? whole : ours).run(JSON.parse(readFileSync(file, 'utf8')));
  console.log(JSON.stringify(found.map((one) => ({ rule: one.code, path: one.path.join('.'), message: one.message }))));
}
