import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fieldText } from './short-forms.ts';
import { linesOf, positionIn, readServiceFile, readServices } from './read.ts';
import { maxBackends, serviceSchema } from './schema.ts';

const head = 'apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: web }\n';
const read = (body: string, name = 'web.yaml'): ReturnType<typeof readServices> =>
  readServices([{ file: name, text: `${head}${body}` }]);

test('what the schema finds and what lies deeper is reported in one run', () => {
  const { described, problems } = read(`addresses: [10.96.0.1, 10.96.0.300]
ports: [80, 80, { port: http }]
schedule: rr
persistence: 0s
backends: [5, 10.0.0.2, 10.0.0.2]
`);
  assert.deepEqual(described, []);
  const places = problems.map(({ position, path }) => `${position.line}:${position.column} ${path}`).sort();
  assert.deepEqual(
    places,
    [
      '4:24 addresses[1]',
      '5:13 ports[1]',
      '5:25 ports[2].port',
      '6:1 schedule',
      '7:14 persistence',
      '8:12 backends[0]',
      '8:25 backends[2]',
    ],
    linesOf(problems).join('\n'),
  );
});

test('a part with a problem makes nothing that refers to it look wrong', () => {
  const { problems } = read(`addresses: [5]
ports: [{ name: http, port: eighty }]
backends: [{ address: 10.0.0.2, ports: { http: 8080 } }, "fd00::2"]
healthCheck: { tcp: {}, port: http }
`);
  assert.deepEqual(
    problems.map(({ position }) => position.line),
    [4, 5],
    linesOf(problems).join('\n'),
  );
});

test('the short forms mean what the long ones say', () => {
  const short = read(`addresses: [10.96.0.10, "FD00:96:0::10"]
ports: [80:8080/tcp, 53/udp, 443]
backends: [10.0.0.2, "10.0.0.3:9000", "fd00::2", "[fd00::3]:9000"]
persistence: 3h
drainGrace: 2m
healthCheck: { http: {} }
`);
  const long = read(`addresses: ["10.96.0.10", "fd00:96::10"]
ports:
  - { name: tcp-80, protocol: tcp, port: 80, targetPort: 8080 }
  - { name: udp-53, protocol: udp, port: 53, targetPort: 53 }
  - { name: tcp-443, port: 443 }
scheduler: rr
clientAffinity: false
persistence: 180m
forwarding: nat
sourceAddress: keep
drainGrace: 120s
backends:
  - { address: 10.0.0.2 }
  - { address: 10.0.0.3, ports: { tcp-80: 9000, udp-53: 9000, tcp-443: 9000 } }
  - { address: fd00::2, ports: { tcp-80: 8080 } }
  - { address: "fd00::3", port: 9000 }
healthCheck: { http: { path: / }, interval: 5s, timeout: 2s, failures: 3, successes: 2 }
`);
  assert.deepEqual(linesOf([...short.problems, ...long.problems]), []);
  assert.deepEqual(short.described[0]?.service, long.described[0]?.service);
  assert.equal(short.described[0]?.service.persistenceSeconds, 10_800);
});

test('addresses of a load balancer, and the clients that may connect to them', () => {
  const { described, problems } = read(
    'loadBalancerAddresses: [192.0.2.1, "2001:db8::1"]\nloadBalancerSourceRanges: [10.9.9.9/8, "::/0"]\nports: [80]\nbackends: [10.0.0.2, "fd00::2"]\n',
  );
  assert.deepEqual(linesOf(problems), []);
  assert.deepEqual(described[0]?.service.loadBalancerAddresses, ['192.0.2.1', '2001:db8::1']);
  assert.deepEqual(described[0].service.loadBalancerSourceRanges, ['10.0.0.0/8', '::/0']);
});

test('a port may have the name of what every object has', () => {
  const { described, problems } = read(
    'addresses: [10.96.0.1]\nports: [{ port: 80, name: constructor, targetPort: 8080 }]\nbackends: [10.0.0.2, "10.0.0.3:81"]\n',
  );
  assert.deepEqual(linesOf(problems), []);
  assert.deepEqual(described[0]?.service.backends, [
    { address: '10.0.0.2' },
    { address: '10.0.0.3', ports: { constructor: 81 } },
  ]);
});

test('a weight makes it wrr', () => {
  const scheduler = (more: string): unknown =>
    read(`addresses: [10.96.0.1]\nports: [80]\n${more}`).described[0]?.service.scheduler;
  assert.deepEqual(
    [
      scheduler('backends: [{ address: 10.0.0.2, weight: 3 }]'),
      scheduler('backends: [{ address: 10.0.0.2, weight: 0 }]'),
    ],
    ['wrr', 'rr'],
  );
});

/** Each is refused at its position for this reason. */
const refused: readonly (readonly [body: string, place: string, why: RegExp])[] = [
  ['addresses: [10.96.0.1]\nports: [80]\nscheduler: maglevv', '6:12', /"maglevv".*did you mean `maglev`/],
  [
    'addresses: [10.96.0.1]\nports: [80]\nscheduler: random',
    '6:12',
    /use one of: `rr`, `wrr`, `lc`, `sh`, `maglev`/,
  ],
  [
    'addresses: [10.96.0.1]\nports: [80]\nbackend: [10.0.0.2]',
    '6:1',
    /unknown field `backend`; did you mean `backends`/,
  ],
  ['addresses: [10.96.0.256]\nports: [80]', '4:13', /is not an address/],
  ['addresses: [10.96.0.0/24]\nports: [80]', '4:13', /is not an address/],
  ['addresses: [127.0.0.1]\nports: [80]', '4:13', /a loopback address/],
  ['addresses: [224.0.0.1]\nports: [80]', '4:13', /a multicast address/],
  ['addresses: ["fe80::1"]\nports: [80]', '4:13', /link-local/],
  ['addresses: ["::ffff:10.0.0.1"]\nports: [80]', '4:13', /is not an address/],
  ['addresses: ["10.96.0.1\\0"]\nports: [80]', '4:13', /contains a NUL character/],
  ['addresses: [10.96.0.1, 10.96.0.1]\nports: [80]', '4:24', /occurs twice/],
  ['addresses: [10.96.0.1]\nexternalAddresses: [10.96.0.1]\nports: [80]', '5:21', /occurs twice/],
  [
    'loadBalancerAddresses: [192.0.2.1]\nloadBalancerSourceRanges: [10.0.0.0/33]\nports: [80]',
    '5:28',
    /"10\.0\.0\.0\/33" is not a prefix/,
  ],
  [
    'loadBalancerAddresses: [192.0.2.1]\nloadBalancerSourceRanges: [10.0.0.1]\nports: [80]',
    '5:28',
    /is not a prefix/,
  ],
  [
    'loadBalancerAddresses: [192.0.2.1]\nloadBalancerSourceRanges: []\nports: [80]',
    '5:27',
    /must not be an empty list/,
  ],
  [
    'loadBalancerAddresses: [192.0.2.1]\nloadBalancerSourceRanges: [10.0.0.0/8, 10.9.9.9/8]\nports: [80]',
    '5:40',
    /occurs twice/,
  ],
  [
    'addresses: [10.96.0.1]\nloadBalancerSourceRanges: [10.0.0.0/8]\nports: [80]',
    '5:27',
    /no effect without loadBalancerAddresses/,
  ],
  [
    'loadBalancerAddresses: [192.0.2.1, "2001:db8::1"]\nloadBalancerSourceRanges: [10.0.0.0/8]\nports: [80]',
    '4:36',
    /no range allows clients to connect by IPv6 to 2001:db8::1/,
  ],
  ['externalAddresses: [192.0.2.1]\nloadBalancerAddresses: [192.0.2.1]\nports: [80]', '5:25', /occurs twice/],
  ['addresses: [10.96.0.1]\nports: [0]', '5:9', /must be >= 1/],
  ['addresses: [10.96.0.1]\nports: [80:70000]', '5:9', /70000 is not a port/],
  ['addresses: [10.96.0.1]\nports: ["70000"]', '5:9', /70000 is not a port/],
  ['addresses: [10.96.0.1]\nports: [80/icmp]', '5:9', /PORT:TARGET\/PROTOCOL/],
  ['addresses: [10.96.0.1]\nports: [80, 80/tcp]', '5:13', /80\/tcp occurs twice/],
  ['addresses: [10.96.0.1]\nports: []', '5:8', /must not be an empty list/],
  ['ports: [80]', '4:8', /no client can connect/],
  ['addresses: [10.96.0.1]\nports: [80]\nbackends: [10.0.0.2, 10.0.0.2]', '6:22', /occurs twice/],
  ['addresses: [10.96.0.1]\nports: [80]\nbackends: [10.0.0.2, 10.96.0.1]', '6:22', /of the service itself/],
  [
    'addresses: ["fd00::1"]\nports: [80, 81:9]\nbackends: [{ address: "fd00:0::1", port: 81 }]',
    '6:12',
    /fd00::1 port 81 is a virtual address and port of the service itself/,
  ],
  ['addresses: [10.96.0.1]\nports: [80]\nbackends: ["fd00::2"]', '4:13', /no backend has an IPv4 address/],
  ['addresses: [10.96.0.1]\nports: [80]\nbackends: [10.0.0.2, "fd00::2"]', '6:22', /has no IPv6 address/],
  [
    'addresses: [10.96.0.1]\nports: [80]\nbackends: [{ address: 10.0.0.2, weight: 70000 }]',
    '6:41',
    /must be <= 65535/,
  ],
  [
    'addresses: [10.96.0.1]\nports: [80]\nbackends: [{ address: 10.0.0.2, ports: { web: 1 } }]',
    '6:47',
    /no port web/,
  ],
  [
    'addresses: [10.96.0.1]\nports: [80]\nscheduler: rr\nbackends: [{ address: 10.0.0.2, weight: 2 }]',
    '6:12',
    /rr does not support weights/,
  ],
  ['addresses: [10.96.0.1]\nports: [80:81]\nforwarding: dsr', '5:9', /the same port/],
  ['addresses: [10.96.0.1]\nports: [80]\npersistence: 0s', '6:14', /one second or more/],
  ['addresses: [10.96.0.1]\nports: [80]\npersistence: 3 hours', '6:14', /30s, 5m/],
  ['addresses: [10.96.0.1]\nports: [80]\nhealthCheck: { tcp: {}, http: {} }', '6:14', /tcp and http/],
  ['addresses: [10.96.0.1]\nports: [53/udp]\nhealthCheck: { tcp: {} }', '6:14', /only exec can check/],
  [
    'addresses: [10.96.0.1]\nports: [80]\nhealthCheck: { exec: { command: [curl] } }',
    '6:34',
    /absolute path/,
  ],
  ['addresses: [10.96.0.1]\nports: [80]\nhealthCheck: { http: { path: "/\\r\\nX: y" } }', '6:30', /form/],
];

test('an error is refused with its position, and the rest is in force', () => {
  const good =
    'apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: other }\naddresses: [10.96.9.9]\nports: [80]\n';
  for (const [body, place, why] of refused) {
    const { described, problems } = read(`${body}\n---\n${good}`);
    const lines = linesOf(problems);
    assert.deepEqual(
      described.map(({ service }) => service.name),
      ['other'],
      `${body}\n${lines.join('\n')}`,
    );
    assert.ok(
      lines.some((line) => line.startsWith(`web.yaml:${place}: `) && why.test(line)),
      `${body}\n${lines.join('\n')}`,
    );
    assert.equal(new Set(lines).size, lines.length, `a problem is reported once\n${lines.join('\n')}`);
  }
});

test('a field that a balancer refuses is reported, and found, as it was written', () => {
  const { described } = read(
    'addresses: [10.96.0.1]\nports: [{ port: 80, nodePort: 30080 }]\npersistence: 3h\ndrainGrace: 2m\n',
  );
  const reported = ['persistenceSeconds', 'drainGraceSeconds', 'addresses.0', 'nodePort', 'name'].map(
    (field) => {
      const { line, column } =
        described[0] === undefined ? { line: 0, column: 0 } : positionIn(described[0].written, field);
      return `${fieldText(field)} ${line}:${column}`;
    },
  );
  assert.deepEqual(reported, [
    'persistence 6:14',
    'drainGrace 7:13',
    'addresses[0] 4:13',
    'nodePort 5:8',
    'name 3:11',
  ]);
});

test('10,000 backends are refused at their list', () => {
  const backends = Array.from({ length: 10_000 }, (_, index) => `10.1.${index >> 8}.${index & 255}`).join(
    ', ',
  );
  const { described, problems } = read(`addresses: [10.96.0.1]\nports: [80]\nbackends: [${backends}]\n`);
  assert.deepEqual(described, []);
  assert.deepEqual(linesOf(problems), [`web.yaml:6:11: backends: must have at most ${maxBackends} items`]);
});

test('the second service of a name is refused, over files too', () => {
  const text = `${head}addresses: [10.96.0.1]\nports: [80]\n`;
  const { described, problems } = readServices([
    { file: 'a.yaml', text },
    { file: 'b.yaml', text },
  ]);
  assert.equal(described.length, 1);
  assert.match(
    linesOf(problems).join('\n'),
    /^b\.yaml:3:19: metadata\.name: the service web occurs twice, first at a\.yaml:3/u,
  );
});

test('harmful YAML is refused with its position, and the documents beside it are read', () => {
  const good = (name: string): string =>
    `---\napiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\nports: [{ port: 80, nodePort: 30000 }]\n`;
  const bomb = [
    'a: &a [x, x, x, x, x, x, x, x, x, x]',
    ...['b', 'c', 'd', 'e', 'f', 'g', 'h'].map(
      (name, index) => `${name}: &${name} [${Array(10).fill(`*${'abcdefg'[index]}`).join(', ')}]`,
    ),
  ].join('\n');
  const rows: readonly (readonly [what: string, text: string, line: RegExp])[] = [
    ['aliases of aliases', bomb, /^x\.yaml:\d+:\d+: (aliases repeat too much|.*)/u],
    ['an anchor in itself', 'a: &a [*a]', /^x\.yaml:8:8: the alias \*a is inside its own anchor/u],
    [
      'a key twice',
      `${head}addresses: [10.96.0.1]\nports: [80]\nports: [81]`,
      /^x\.yaml:13:1: the key `ports` occurs twice/u,
    ],
    ['deep nesting', `a: ${'['.repeat(5000)}`, /^x\.yaml:7:1: nested deeper than 64 levels/u],
    ['a tab', 'a:\n\tb: c', /^x\.yaml:9:1: /u],
    [
      'a document of 2 MiB',
      `a: "${'x'.repeat(2 * 1024 * 1024)}"`,
      /^x\.yaml:7:1: the document is larger than 1048576 bytes/u,
    ],
    ['a tag of a program', 'a: !!js/function "x"', /^x\.yaml:8:4: /u],
    ['nothing of ours', 'kind: Pod', /^x\.yaml:8:7: kind/u],
    ['a text', 'hello', /^x\.yaml:8:1: /u],
  ];
  for (const [what, text, expected] of rows) {
    const { described, problems } = readServices([
      { file: 'x.yaml', text: `# first\n${good('before')}---\n${text}\n${good('after')}...\n` },
    ]);
    assert.deepEqual(
      described.map(({ service }) => service.name),
      ['before', 'after'],
      what,
    );
    const lines = linesOf(problems);
    assert.ok(
      lines.some((line) => expected.test(line)),
      `${what}\n${lines.slice(0, 5).join('\n')}`,
    );
  }
});

test('many documents: each has its position; only the first thousand problems are reported', () => {
  const wrong = `${head.replace('web', 'WEB_')}addresses: [10.96.0.1]\nports: [80]\n`;
  const text = `%YAML 1.2\n# of one author\n---\n${[...Array.from({ length: 1200 }, () => wrong), `${head}addresses: [10.96.0.1]\nports: [80]\n`].join('---\n')}`;
  const { described, problems } = readServices([{ file: 'x.yaml', text }]);
  assert.equal(described.length, 1);
  const { line, column } = positionIn(described[0]!.written, 'addresses.0');
  assert.deepEqual([line, column], [4 + 1200 * 6 + 3, 13]);
  const lines = linesOf(problems).filter((each) => each.startsWith('x.yaml'));
  assert.equal(lines.length, 1001);
  assert.match(lines[999] ?? '', new RegExp(`^x\\.yaml:${4 + 999 * 6 + 2}:19: `, 'u'));
  assert.match(lines[1000] ?? '', /200 more problems are not shown/u);
});

test('a field of the model has the place where it was written', () => {
  const [found] = read('addresses: [10.96.0.1]\nports: [80]\ndrainGrace: 3s\n').described;
  assert.deepEqual(
    ['drainGraceSeconds', 'addresses.0', 'scheduler', undefined].map((field) => {
      const { line, column } =
        found === undefined ? { line: 0, column: 0 } : positionIn(found.written, field);
      return `${line}:${column}`;
    }),
    ['6:13', '4:13', '1:1', '1:1'],
  );
});

test('a file is read as a whole or not at all: a file that is empty, cut off or has a problem yields nothing', () => {
  const good = `${head}addresses: [10.96.0.1]\nports: [80]\n`;
  const other = good.replace('web', 'other').replace('10.96.0.1', '10.96.0.2');
  const found = (text: string): string => {
    const result = readServiceFile({ file: 'x.yaml', text });
    if ('described' in result) return result.described.map(({ service }) => service.name).join();
    return `${result.isEmpty === true ? 'empty ' : ''}${result.unreadable.filter((line) => !line.startsWith('  ')).join()}`;
  };
  for (const text of ['', '\n', '# nothing\n', '---\n', '---\n# nothing\n...\n'])
    assert.match(found(text), /^empty x\.yaml:1:1: the file is empty;/u, JSON.stringify(text));
  assert.equal(found(`${good}---\n${other}`), 'web,other');
  assert.equal(found(`${good}---\n${other}---\n`), 'web,other', 'a separator after the last');
  assert.equal(found(`---\n# switched off\n---\n${good}`), 'web');
  assert.match(found(`${good}---\n---\n${other}`), /^x\.yaml:\d+:1: the document is empty;/u);
  assert.match(
    found(`${good}---\n${other.replace('10.96.0.2', '10.96.0.300')}`),
    /^x\.yaml:\d+:\d+: addresses\[0\]/u,
  );
  assert.match(found(`${good}---\n${other.slice(0, other.indexOf('metadata'))}`), /metadata/u);
  assert.match(found(`${good}---\n${good}`), /occurs twice/u);
});

test('the published schema is the one that services are checked by', () => {
  const published: unknown = JSON.parse(
    readFileSync(new URL('../../../docs/schemas/service.json', import.meta.url), 'utf8'),
  );
  assert.deepEqual(
    published,
    JSON.parse(JSON.stringify(serviceSchema)),
    'run: sh packaging/node test/house/service-reference.ts',
  );
});

test('a backend may be a server of this host at an external address, or another port of a virtual address', () => {
  for (const [field, port] of [
    ['externalAddresses', 80],
    ['addresses', 8080],
  ] as const) {
    const { described, problems } = read(
      `${field}: [192.0.2.1]\nports: ["80:${port}"]\nbackends: [192.0.2.1]\n`,
    );
    assert.deepEqual(linesOf(problems), []);
    assert.equal(described.length, 1);
  }
});
