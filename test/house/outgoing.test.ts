import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import ts from 'typescript';

const root = join(import.meta.dirname, '../..');

/** Files outside base/http that may send HTTP requests themselves, each with its reason. */
const allowed: Readonly<Record<string, string>> = {
  'cli/quickstart/pod.ts': 'asks the pod that the quickstart itself has started, at its address on this host',
  'cli/quickstart/registry.ts': 'asks the registry that the quickstart itself has started, on loopback',
  'cni-plugins/admin/client.ts': 'the daemon of this host, over its admin socket',
  'cni-plugins/libnetwork/client/transport.ts':
    'a remote network driver by moby’s protocol: the credentials of its socket are needed, and whether a call was sent',
  'cni-plugins/libnetwork/docker/docker-api.ts': 'docker’s own socket on this host',
  'fleet/console/api.ts': 'runs in a browser, and asks the aggregator that served it',
  'cni-plugins/services/control/health/probe.ts':
    'a health check asks a backend, from its network namespace: no proxy, redirects or body',
  'runtime/proxy/backend.ts': 'the CRI of the runtime behind the proxy, over its unix socket: gRPC is HTTP/2',
};

/** The exports that can send requests, by module: the relevant names, or all. */
const clients: Readonly<Record<string, readonly string[] | 'all'>> = {
  undici: 'all',
  'base/connections': ['httpRequest', 'httpGet', 'HttpAgent'],
  http: ['request', 'get', 'Agent', 'ClientRequest', 'globalAgent'],
  https: ['request', 'get', 'Agent', 'globalAgent'],
  http2: ['connect'],
  tls: ['connect', 'TLSSocket'],
};
const globals: ReadonlySet<string> = new Set(['fetch', 'WebSocket', 'EventSource', 'XMLHttpRequest']);

/**
 * Returns each way to send requests that a source uses: value imports, requires, dynamic imports, and globals
 * that it does not declare itself.
 */
function waysOut(name: string, text: string): string[] {
  const source = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const declared = new Set<string>();
  const moduleOf = (node: ts.Node | undefined): string =>
    node !== undefined && ts.isStringLiteralLike(node)
      ? node.text
          .replace(/^node:/u, '')
          .replace(/^undici\/.*/u, 'undici')
          .replace(/^(?:\.{1,2}\/.*connections\/(?:index|node-http)|\.\/node-http)\.ts$/u, 'base/connections')
      : '';
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && node.importClause?.phaseModifier !== ts.SyntaxKind.TypeKeyword) {
      const module = moduleOf(node.moduleSpecifier);
      const names = clients[module];
      const bindings = node.importClause?.namedBindings;
      if (names !== undefined) {
        const isWhole =
          node.importClause?.name !== undefined || (bindings !== undefined && ts.isNamespaceImport(bindings));
        const imported =
          bindings !== undefined && ts.isNamedImports(bindings)
            ? bindings.elements
                .filter(({ isTypeOnly }) => !isTypeOnly)
                .map(({ name: local, propertyName }) => (propertyName ?? local).text)
            : [];
        if (isWhole) found.push(`${module}.*`);
        for (const one of imported)
          if (names === 'all' || names.includes(one)) found.push(`${module}.${one}`);
      }
    }
    if (ts.isExportDeclaration(node) && !node.isTypeOnly && moduleOf(node.moduleSpecifier) in clients)
      found.push(`${moduleOf(node.moduleSpecifier)}.*`);
    if (ts.isCallExpression(node)) {
      const isImport =
        node.expression.kind === ts.SyntaxKind.ImportKeyword ||
        node.expression.getText() === 'require' ||
        node.expression.getText().endsWith('getBuiltinModule');
      if (isImport && moduleOf(node.arguments[0]) in clients) found.push(`${moduleOf(node.arguments[0])}.*`);
    }
    if (
      (ts.isVariableDeclaration(node) ||
        ts.isParameter(node) ||
        ts.isBindingElement(node) ||
        ts.isFunctionDeclaration(node) ||
        ts.isImportSpecifier(node)) &&
      node.name !== undefined &&
      ts.isIdentifier(node.name)
    )
      declared.add(node.name.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  const uses = (node: ts.Node): void => {
    if (
      (ts.isCallExpression(node) || ts.isNewExpression(node)) &&
      ts.isIdentifier(node.expression) &&
      globals.has(node.expression.text) &&
      !declared.has(node.expression.text)
    )
      found.push(node.expression.text);
    if (
      ts.isPropertyAccessExpression(node) &&
      ts.isIdentifier(node.expression) &&
      node.expression.text === 'globalThis' &&
      globals.has(node.name.text)
    )
      found.push(node.name.text);
    ts.forEachChild(node, uses);
  };
  uses(source);
  return found;
}

describe('outgoing HTTP requests', () => {
  it('use base/http, except in the files named here', () => {
    const sources = globSync(
      '{base,trust,entitlements,cni-plugins,fleet,admission,runtime,node,cli}/**/*.ts',
      {
        cwd: root,
      },
    ).filter(
      (file) =>
        !/\.(?:test|fixture)\.ts$|\/fixtures\/|\/test-kit\.ts$|^base\/http\/|^base\/connections\/(?:index|node-http)\.ts$/u.test(
          file,
        ),
    );
    assert.ok(sources.length > 500, `${sources.length} sources`);
    const found = Object.fromEntries(
      sources
        .map((file) => [file, waysOut(file, readFileSync(join(root, file), 'utf8'))] as const)
        .filter(([, ways]) => ways.length > 0),
    );
    assert.deepEqual(
      Object.keys(found).sort(),
      Object.keys(allowed).sort(),
      JSON.stringify(found, undefined, 2),
    );
  });

  it('load neither Node’s own undici nor all of the package: see node-http.ts and undici.ts', () => {
    const sources = globSync(
      '{base,trust,entitlements,cni-plugins,fleet,admission,runtime,node,cli}/**/*.ts',
      {
        cwd: root,
      },
    ).filter((file) => file !== 'base/http/undici-parts.d.ts');
    const value = /^(?:import|export) (?!type )[^'"]*from '(?:(?:node:)?http|undici)'/mu;
    assert.ok(value.test("import { createServer } from 'node:http';"));
    assert.deepEqual(
      sources.filter((file) => value.test(readFileSync(join(root, file), 'utf8'))),
      [],
    );
  });

  const planted: readonly (readonly [text: string, ways: readonly string[]])[] = [
    ["import { Agent } from 'undici';", ['undici.Agent']],
    ["import Agent from 'undici/lib/dispatcher/agent.js';", ['undici.*']],
    ["import { request } from 'node:http';", ['http.request']],
    ["import { request as ask } from 'https';", ['https.request']],
    ["import * as http from 'node:http';", ['http.*']],
    ["import http from 'node:https';", ['https.*']],
    ["import { connect } from 'node:http2';", ['http2.connect']],
    ["import { connect } from 'node:tls';", ['tls.connect']],
    ["const { request } = await import('node:http');", ['http.*']],
    ["const http = require('http');", ['http.*']],
    ["const http = process.getBuiltinModule('node:http');", ['http.*']],
    ["export { request } from 'node:http';", ['http.*']],
    ["import { httpRequest } from '../../base/connections/index.ts';", ['base/connections.httpRequest']],
    ["import { httpGet } from '../connections/node-http.ts';", ['base/connections.httpGet']],
    ["import { httpGet } from './node-http.ts';", ['base/connections.httpGet']],
    ["import { createHttpServer } from '../connections/index.ts';", []],
    ["await fetch('http://a');", ['fetch']],
    ["await globalThis.fetch('http://a');", ['fetch']],
    ["new WebSocket('ws://a');", ['WebSocket']],
    ["import { createServer } from 'node:http';", []],
    ["import type { Agent } from 'undici';", []],
    ["import { type Agent } from 'undici';", []],
    ['function use(fetch: () => void) { fetch(); }', []],
    ["source.fetch('a');", []],
  ];
  for (const [text, ways] of planted)
    it(`${ways.length === 0 ? 'is not' : 'is'} in ${text}`, () =>
      assert.deepEqual(waysOut('planted.ts', text), ways));
});
