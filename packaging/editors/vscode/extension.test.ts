import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { catalogEntries } from '../catalog.ts';
import { commandFor } from './check.ts';
import { vsixOf } from './vsix.ts';

const launcher = join(import.meta.dirname, '../../bin/portcullis');
const time = 1_700_000_000;
const head = 'apiVersion: portcullis.dev/v1alpha1\n';
const wrong = `${head}kind: TrustPolicy\nrules:\n  - images: ['**']\n    alow: unverified\n`;

interface Shown {
  readonly range: { readonly start: { readonly line: number; readonly character: number } };
  readonly message: string;
  readonly severity: number;
  readonly source?: string;
  readonly code?: string;
}
interface Document {
  readonly uri: { readonly scheme: string; readonly fsPath: string; toString(): string };
  getText(): string;
}
interface Extension {
  activate(context: { readonly subscriptions: { dispose(): void }[] }): void;
}

/**
 * Returns the parts of the editor that the extension uses. VS Code itself needs a display and a download, so
 * it does not run here; the types of the real API check the sources, and at run time this object replaces it.
 */
function editor(settings: { path: string; isTrusted: boolean }) {
  const events = new EventEmitter();
  const on = (name: string) => (listener: (document: Document) => void) => {
    events.on(name, listener);
    return { dispose: () => events.off(name, listener) };
  };
  const shown = new Map<string, readonly Shown[]>();
  class Position {
    readonly line: number;
    readonly character: number;
    constructor(line: number, character: number) {
      this.line = line;
      this.character = character;
    }
  }
  class Range {
    readonly start: Position;
    constructor(start: Position) {
      this.start = start;
    }
  }
  class Diagnostic {
    readonly range: Range;
    readonly message: string;
    readonly severity: number;
    constructor(range: Range, message: string, severity: number) {
      this.range = range;
      this.message = message;
      this.severity = severity;
    }
  }
  return {
    events,
    shown,
    api: {
      ...{ Position, Range, Diagnostic, DiagnosticSeverity: { Error: 0, Warning: 1 } },
      languages: {
        createDiagnosticCollection: () => ({
          set(uri: Document['uri'], found: readonly Shown[]) {
            shown.set(uri.toString(), found);
            events.emit('shown', uri.toString());
          },
          delete: (uri: Document['uri']) => shown.delete(uri.toString()),
          dispose: () => shown.clear(),
        }),
      },
      window: {
        showWarningMessage: (text: string) => events.emit('warned', text),
      },
      workspace: {
        textDocuments: [],
        get isTrusted() {
          return settings.isTrusted;
        },
        getConfiguration: () => ({ get: () => settings.path }),
        onDidOpenTextDocument: on('open'),
        onDidSaveTextDocument: on('save'),
        onDidCloseTextDocument: on('close'),
        onDidGrantWorkspaceTrust: on('trust'),
      },
    },
  };
}

describe('the extension for VS Code', () => {
  let folder = '';
  let disposable: { dispose(): void }[] = [];
  const settings = { path: launcher, isTrusted: true };
  const { api, events, shown } = editor(settings);
  const at = (name: string): string => join(folder, name);

  function write(name: string, text: string, scheme = 'file'): Document {
    writeFileSync(at(name), text);
    const uri = { scheme, fsPath: at(name), toString: () => `${scheme}://${at(name)}` };
    return { uri, getText: () => text };
  }
  async function save(document: Document): Promise<readonly Shown[]> {
    const done = once(events, 'shown');
    events.emit('save', document);
    await done;
    return shown.get(document.uri.toString()) ?? [];
  }

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-vsix-'));
    writeFileSync(at('portcullis.vsix'), await vsixOf(time));
    const { status, stderr } = spawnSync('python3', ['-m', 'zipfile', '-e', at('portcullis.vsix'), folder], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    mkdirSync(at('node_modules/vscode'), { recursive: true });
    writeFileSync(at('node_modules/vscode/index.js'), 'module.exports = globalThis.editorOfTheTest;');
    Object.assign(globalThis, { editorOfTheTest: api });
    const extension = createRequire(at('x.js'))('./extension/main.js') as Extension;
    disposable = [];
    extension.activate({ subscriptions: disposable });
  });
  after(() => {
    for (const one of disposable) one.dispose();
    rmSync(folder, { recursive: true });
  });

  it('has the same bytes when it is built again', async () => {
    assert.deepEqual(readFileSync(at('portcullis.vsix')), await vsixOf(time));
  });

  it('contributes the published schemas by the names of the catalog', () => {
    const { contributes, main } = JSON.parse(readFileSync(at('extension/package.json'), 'utf8')) as {
      main: string;
      contributes: Record<
        'yamlValidation' | 'jsonValidation',
        readonly { fileMatch: readonly string[]; url: string }[]
      >;
    };
    assert.ok(existsSync(at(`extension/${main}`)));
    const rows = [...contributes.yamlValidation, ...contributes.jsonValidation];
    for (const { url } of rows) assert.ok(existsSync(at(`extension/${url}`)), url);
    for (const { url, fileMatch } of catalogEntries())
      assert.deepEqual(
        rows
          .filter((row) => basename(row.url) === basename(url))
          .flatMap((row) => row.fileMatch)
          .sort(),
        [...fileMatch].sort(),
      );
  });

  it('lets no workspace choose the program', () => {
    const { contributes, capabilities } = JSON.parse(readFileSync(at('extension/package.json'), 'utf8')) as {
      contributes: { configuration: { properties: Record<string, { scope: string }> } };
      capabilities: { untrustedWorkspaces: { restrictedConfigurations: readonly string[] } };
    };
    assert.equal(contributes.configuration.properties['portcullis.path']?.scope, 'machine');
    assert.deepEqual(capabilities.untrustedWorkspaces.restrictedConfigurations, ['portcullis.path']);
  });

  it('shows the problems of a policy at their places, and removes them when they are corrected', async () => {
    const found = await save(write('base.yaml', wrong));
    const one = found.find(({ message }) => /unknown field `alow`/u.test(message));
    assert.deepEqual(
      [one?.range.start.line, one?.range.start.character, one?.severity, one?.source],
      [4, 4, 0, 'portcullis'],
      JSON.stringify(found),
    );
    assert.match(one?.message ?? '', /did you mean `allow`/u);
    assert.deepEqual(await save(write('base.yaml', wrong.replace('alow', 'allow'))), []);
  });

  it('shows findings of the lint in a profile as warnings', async () => {
    const profile = `${head}kind: EntitlementProfile\nmetadata: { name: web }\ncapabilities: { add: [SYS_ADMIN] }\n`;
    const found = await save(write('web.yaml', profile));
    assert.ok(found.length > 0);
    for (const { severity, code } of found) {
      assert.equal(severity, 1);
      assert.equal(typeof code, 'string');
    }
  });

  it('passes the name of a file unchanged, without a shell', async () => {
    const name = '$(touch injected); `touch injected` & -o x.yaml';
    const found = await save(write(name, wrong));
    assert.ok(found.length > 0);
    assert.ok(!existsSync(at('injected')) && !existsSync('injected'));
  });

  it('starts nothing for other documents, untrusted workspaces, or files that are not on this disk', () => {
    settings.path = at('never');
    writeFileSync(at('never'), `#!/bin/sh\ntouch ${at('started')}\n`, { mode: 0o755 });
    try {
      events.emit('save', write('pod.yaml', 'apiVersion: v1\nkind: Pod\n'));
      events.emit('save', write('remote.yaml', wrong, 'vscode-vfs'));
      settings.isTrusted = false;
      events.emit('save', write('base.yaml', wrong));
      // A program would have been started before `emit` returned.
      assert.equal(spawnSync('sleep', ['0.5']).status, 0);
      assert.ok(!existsSync(at('started')));
    } finally {
      Object.assign(settings, { path: launcher, isTrusted: true });
    }
  });

  it('reports once that the command is missing, and shows no problems', async () => {
    settings.path = at('missing');
    try {
      const document = write('base.yaml', wrong);
      const warned = once(events, 'warned');
      events.emit('save', document);
      assert.match(String((await warned)[0]), /ENOENT[^]*set portcullis\.path/u);
      assert.equal(shown.get(document.uri.toString()), undefined);
    } finally {
      settings.path = launcher;
    }
  });

  it('starts no program from the folder in which the editor was started', () => {
    const [path, folderBefore] = [process.env['PATH'], process.cwd()];
    writeFileSync(at('portcullis'), `#!/bin/sh\ntouch ${at('planted')}\n`, { mode: 0o755 });
    settings.path = 'portcullis';
    process.env['PATH'] = `.:${path ?? ''}`;
    process.chdir(folder);
    try {
      events.emit('save', write('base.yaml', wrong));
      assert.equal(spawnSync('/bin/sleep', ['0.5']).status, 0);
      assert.ok(!existsSync(at('planted')));
    } finally {
      settings.path = launcher;
      process.env['PATH'] = path;
      process.chdir(folderBefore);
      rmSync(at('portcullis'));
    }
  });

  it('forgets a document that is closed', async () => {
    const document = write('base.yaml', wrong);
    await save(document);
    events.emit('close', document);
    assert.equal(shown.has(document.uri.toString()), false);
  });
});

it('recognises documents by their kind', () => {
  assert.deepEqual(commandFor(wrong), ['policy', 'check']);
  assert.deepEqual(commandFor(`${head}kind: EntitlementProfile\n`), ['entitlements', 'check']);
  assert.equal(commandFor('apiVersion: v1\nkind: TrustPolicy\n'), undefined);
  assert.equal(commandFor(`${head}kind: Waivers\n`), undefined);
});
