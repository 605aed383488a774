import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { loadDaemonConfig } from '../load.ts';
import { importConfiguration, kindOfToml } from './import.ts';
import type { ImportSource } from './import.ts';

const sixteen = Array.from({ length: 16 }, (_, at) => at);

const cases: readonly {
  readonly what: string;
  readonly text: string;
  readonly host?: string;
  readonly settings: object;
  readonly left?: Readonly<Record<string, RegExp>>;
}[] = [
  {
    what: 'one host that resolves tags and serves content is a mirror',
    text: '[host."http://mirror.test:5000/v2"]\ncapabilities = ["pull", "resolve"]\n',
    settings: { mirrors: { 'a.test': { url: 'http://mirror.test:5000', origin: true } } },
  },
  {
    what: 'hosts are imported in their order, and a host without "resolve" only for digests',
    text: 'server = "https://a.test"\n[host."https://z.test"]\ncapabilities = ["pull"]\n[host."https://b.test"]\n',
    settings: {
      prefixes: {
        'a.test': {
          mirrors: [{ url: 'https://z.test', tags: false }, { url: 'https://b.test' }],
          origin: true,
        },
      },
    },
  },
  {
    what: 'hosts that serve no content, or whose capabilities are unknown, are omitted',
    text: '[host."https://push.test"]\ncapabilities = ["push"]\n[host."https://odd.test"]\ncapabilities = ["fly"]\n',
    settings: {},
    left: { 'host.https://push.test': /no content/u, 'host.https://odd.test.capabilities': /pull, resolve/u },
  },
  {
    what: 'a server that is not the registry is the last source',
    text: 'server = "https://inside.test"\n[host."https://m.test"]\n',
    settings: {
      prefixes: {
        'a.test': { mirrors: [{ url: 'https://m.test' }, { url: 'https://inside.test' }], origin: false },
      },
    },
  },
  {
    what: 'a server that is also a host is one source',
    text: 'server = "https://m.test"\n[host."https://m.test"]\n',
    settings: { mirrors: { 'a.test': { url: 'https://m.test', origin: false } } },
  },
  {
    what: 'a server that cannot be imported leaves the registry blocked',
    text: 'server = "https://inside.test/api"\n',
    settings: { prefixes: { 'a.test': { blocked: true } } },
    left: { server: /no source can be imported/u },
  },
  {
    what: 'a registry from which its own file pulls nothing is not a source',
    text: 'server = "https://a.test"\ncapabilities = ["push"]\n[host."https://m.test"]\n',
    settings: { mirrors: { 'a.test': { url: 'https://m.test', origin: false } } },
    left: { capabilities: /it is no source/u },
  },
  {
    what: 'a registry from which its own file pulls nothing is blocked without another host',
    text: 'server = "https://a.test"\ncapabilities = ["push"]\n',
    settings: { prefixes: { 'a.test': { blocked: true } } },
    left: { capabilities: /it is no source/u, server: /no source can be imported/u },
  },
  {
    what: 'a registry that resolves no tags is reported, because it is asked for them',
    text: 'server = "https://a.test"\ncapabilities = ["pull"]\n[host."https://m.test"]\n',
    settings: { mirrors: { 'a.test': { url: 'https://m.test', origin: true } } },
    left: { capabilities: /asked for tags too/u },
  },
  {
    what: 'capabilities without a server are of no host',
    text: 'server = ""\ncapabilities = ["push"]\n[host."https://m.test"]\n',
    settings: { mirrors: { 'a.test': { url: 'https://m.test', origin: true } } },
  },
  {
    what: 'a server over plain HTTP is the registry itself',
    text: 'server = "http://a.test"\n',
    settings: { insecure: ['a.test'] },
  },
  {
    what: 'the server of Docker Hub is docker.io',
    host: 'docker.io',
    text: 'server = "https://registry-1.docker.io"\n',
    settings: {},
  },
  {
    what: 'the registry as its own last host is not a mirror',
    text: 'server = "https://a.test"\n[host."https://m.test"]\n[host."https://a.test"]\nca = "/etc/a.pem"\n',
    settings: {
      mirrors: { 'a.test': { url: 'https://m.test', origin: true } },
      tls: { 'a.test': { ca: ['/etc/a.pem'] } },
    },
  },
  {
    what: 'the registry as its own host before another one keeps its place',
    text: '[host."https://a.test"]\n[host."https://m.test"]\n',
    settings: {
      prefixes: {
        'a.test': { mirrors: [{ url: 'https://a.test' }, { url: 'https://m.test' }], origin: true },
      },
    },
  },
  {
    what: 'Docker Hub as its own only host is not a mirror',
    host: 'docker.io',
    text: '[host."https://registry-1.docker.io"]\n',
    settings: {},
  },
  {
    what: 'the registry as its own host over plain HTTP, with its port, is the registry itself',
    host: 'a.test:5000',
    text: 'server = "http://a.test:5000"\n[host."http://a.test:5000"]\nskip_verify = true\n',
    settings: { insecure: ['a.test:5000'] },
    left: { 'host.http://a.test:5000.skip_verify': /always verified/u },
  },
  {
    what: 'the registry as its own only host over plain HTTP is the registry itself without a server too',
    host: 'a.test:5000',
    text: '[host."http://a.test:5000"]\n',
    settings: { insecure: ['a.test:5000'] },
  },
  {
    what: 'a path is the beginning of the repository if override_path is set, and is omitted otherwise',
    text: '[host."https://m.test/v2/cache"]\noverride_path = true\n[host."https://n.test/cache"]\n[host."https://o.test/api"]\noverride_path = true\n',
    settings: { mirrors: { 'a.test': { url: 'https://m.test/cache', origin: true } } },
    left: {
      'host.https://n.test/cache': /does not begin with \/v2/u,
      'host.https://o.test/api': /does not begin with \/v2/u,
    },
  },
  {
    what: 'headers, proxies and unverified certificates are omitted, the finding names the setting to use, and no value is repeated',
    text: '[host."https://m.test:5000"]\nskip_verify = true\nproxy = "http://user:geheim@p"\ndial_timeout = "1s"\nmystery = 1\n[host."https://m.test:5000".rewrite]\n"^a/(.*)" = "b/$1"\n[host."https://m.test:5000".header]\nauthorization = "geheim"\n',
    settings: { mirrors: { 'a.test': { url: 'https://m.test:5000', origin: true } } },
    left: {
      'host.https://m.test:5000.skip_verify': /always verified: .*registries\.tls\.m\.test:5000\.ca/u,
      'host.https://m.test:5000.proxy': /HTTPS_PROXY/u,
      'host.https://m.test:5000.header': /authFile/u,
      'host.https://m.test:5000.rewrite': /not rewritten/u,
      'host.https://m.test:5000.mystery': /has no meaning/u,
    },
  },
  {
    what: 'authorities and client certificates are imported, relative to the folder of the file',
    host: 'docker.io',
    text: 'ca = ["a.pem", "/etc/b.pem"]\nclient = "both.pem"\nskip_verify = false\n[host."https://m.test:5000"]\nca = "m.pem"\nclient = [["c.pem", "k.pem"]]\n',
    settings: {
      mirrors: { 'docker.io': { url: 'https://m.test:5000', origin: true } },
      tls: {
        'registry-1.docker.io': {
          ca: ['/etc/certs.d/a.pem', '/etc/b.pem'],
          cert: '/etc/certs.d/both.pem',
          key: '/etc/certs.d/both.pem',
        },
        'm.test:5000': { ca: ['/etc/certs.d/m.pem'], cert: '/etc/certs.d/c.pem', key: '/etc/certs.d/k.pem' },
      },
    },
  },
  {
    what: 'certificates in an unknown form, several client certificates, and certificates of a host over plain HTTP are omitted',
    text: 'ca = 5\nclient = ["a.pem", "b.pem"]\n[host."http://m.test"]\nca = "m.pem"\n[host."https://n.test"]\nclient = [["a", "b", "c"]]\nca = []\n',
    settings: {
      prefixes: {
        'a.test': { mirrors: [{ url: 'http://m.test' }, { url: 'https://n.test' }], origin: true },
      },
    },
    left: {
      ca: /not a path/u,
      client: /one client certificate/u,
      'host.http://m.test.ca': /plain HTTP/u,
      'host.https://n.test.client': /not a path/u,
      'host.https://n.test.ca': /not a path/u,
    },
  },
  {
    what: 'an address that is not the address of a registry is omitted',
    text: '[host."ftp://m.test"]\n[host."https://m.test?x"]\n',
    settings: {},
    left: { 'host.ftp://m.test': /HOST/u, 'host."https://m.test?x"': /HOST/u },
  },
  {
    what: 'hosts beyond the maximum number of mirrors are omitted',
    text: sixteen.map((at) => `[host."https://m${at}.test"]\n`).join('') + '[host."https://n.test"]\n',
    settings: {
      prefixes: {
        'a.test': { mirrors: sixteen.map((at) => ({ url: `https://m${at}.test` })), origin: true },
      },
    },
    left: { 'host.https://n.test': /at most 16/u },
  },
  {
    what: 'the hosts for all registries are omitted',
    host: '_default',
    text: '[host."https://m.test"]\n',
    settings: {},
    left: { host: /each registry/u },
  },
];

describe('hosts.toml', () => {
  for (const { what, text, host = 'a.test', settings, left = {} } of cases)
    it(what, async () => {
      const source: ImportSource = { kind: 'hosts', file: '/etc/certs.d/hosts.toml', text, host };
      const imported = importConfiguration([source]);
      assert.deepEqual(imported.settings['registries'] ?? {}, settings);
      const found = new Map(
        imported.findings.filter(({ outcome }) => outcome === 'left').map(({ key, note }) => [key, note]),
      );
      assert.deepEqual([...found.keys()].sort(), Object.keys(left).sort());
      for (const [key, says] of Object.entries(left)) assert.match(found.get(key) ?? '', says);
      assert.ok(!JSON.stringify(imported).includes('geheim'), 'no secret is repeated');
      assert.ok(!imported.findings.some(({ note }) => note === ''), 'each finding has a note');
      const folder = mkdtempSync(join(tmpdir(), 'portcullis-import-'));
      try {
        writeFileSync(join(folder, 'config.yaml'), JSON.stringify(imported.settings));
        await loadDaemonConfig({ file: join(folder, 'config.yaml') });
      } finally {
        rmSync(folder, { recursive: true });
      }
    });

  it('is recognised', () => assert.equal(kindOfToml(cases[0]?.text ?? '', 'hosts.toml'), 'hosts'));

  it('is replaced by a registries.conf that blocks the registry', () => {
    const hosts: ImportSource = {
      kind: 'hosts',
      file: 'hosts.toml',
      text: '[host."https://m.test"]\n',
      host: 'a.test',
    };
    const more: ImportSource = {
      kind: 'hosts',
      file: 'b/hosts.toml',
      text: '[host."https://m.test"]\n[host."https://n.test"]\n',
      host: 'b.test',
    };
    const text =
      '[[registry]]\nlocation = "a.test"\nblocked = true\n[[registry]]\nlocation = "b.test"\nblocked = true\n';
    const { settings, findings } = importConfiguration([
      hosts,
      more,
      { kind: 'registries', file: 'registries.conf', text },
    ]);
    assert.deepEqual(settings, {
      registries: { prefixes: { 'a.test': { blocked: true }, 'b.test': { blocked: true } } },
    });
    assert.deepEqual(
      findings.filter(({ outcome }) => outcome === 'left').map(({ key }) => key),
      ['registries.mirrors.a.test', 'registries.prefixes.b.test'],
    );
  });
});

it('the deprecated mirrors of a config.toml are imported in their order', () => {
  const text =
    '[plugins.cri.registry.mirrors."a.test"]\nendpoint = ["https://m.test", "https://n.test/v2"]\n[plugins.cri.registry.mirrors."*"]\nendpoint = ["https://m.test"]\n[plugins.cri.registry.mirrors."b.test"]\nendpoint = ["https://m.test/cache"]\n';
  const { settings, findings } = importConfiguration([{ kind: 'containerd', file: 'config.toml', text }]);
  assert.deepEqual(settings, {
    registries: {
      prefixes: {
        'a.test': { mirrors: [{ url: 'https://m.test' }, { url: 'https://n.test' }], origin: true },
      },
    },
  });
  assert.deepEqual(
    findings.map(({ outcome }) => outcome),
    ['taken', 'left', 'left'],
  );
});
