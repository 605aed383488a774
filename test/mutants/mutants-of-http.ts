import type { Mutant } from './mutant.ts';

const here = 'base/http';
const address = [`${here}/address.test.ts`];
const client = [`${here}/client.test.ts`];
const redirects = ['base/distribution/redirects.test.ts'];

/** The client for all outgoing requests. */
export const mutants: readonly Mutant[] = [
  {
    file: `${here}/address.ts`,
    removes: 'loopback addresses as a class',
    from: "loopback: 'loopback',",
    to: '',
    tests: address,
  },
  {
    file: `${here}/address.ts`,
    removes: 'unspecified addresses as loopback',
    from: "unspecified: 'unspecified',",
    to: '',
    tests: redirects,
  },
  {
    file: `${here}/address.ts`,
    removes: 'IPv4 addresses carried by IPv6',
    from: 'for (const carried of carriedBy(address.toByteArray())) {',
    to: 'for (const carried of [] as ipaddr.IPv4[]) {',
    tests: redirects,
  },
  {
    file: `${here}/address.ts`,
    removes: 'the dot at the end of a host name',
    from: String.raw`.replace(/\.+$/u, '');`,
    to: ';',
    tests: address,
  },
  {
    file: `${here}/redirects.ts`,
    removes: 'the refusal to leave https',
    from: "if (from.protocol === 'https:' && to.protocol === 'http:')",
    to: 'if (false as boolean)',
    tests: client,
  },
  {
    file: `${here}/redirects.ts`,
    removes: 'the refusal of a user in a redirect',
    from: "if (to.username !== '' || to.password !== '')",
    to: 'if (false as boolean)',
    tests: client,
  },
  {
    file: `${here}/redirects.ts`,
    removes: 'credentials from requests to another origin',
    from: 'portable.has(name.toLowerCase())',
    to: 'true',
    tests: client,
  },
  {
    file: `${here}/connections.ts`,
    removes: 'the check of the addresses to which a name resolves',
    from: 'if (bad !== undefined) return callback(',
    to: 'if (false as boolean) return callback(',
    tests: client,
  },
  {
    file: `${here}/connections.ts`,
    removes: 'the check of the connected address',
    from: 'if (!mayReach(reach, found)) {',
    to: 'if (false as boolean) {',
    tests: client,
  },
  {
    file: `${here}/client.ts`,
    removes: 'the bound on redirects',
    from: 'if (hop >= redirects)',
    to: 'if (hop >= 1000)',
    tests: client,
  },
  {
    file: `${here}/answer.ts`,
    removes: 'the bound on an answer',
    from: 'size > mostBytes ?',
    to: '(false as boolean) ?',
    tests: client,
  },
  {
    file: `${here}/connections.ts`,
    removes: 'the bound on headers',
    from: 'maxHeaderSize: 32 * 1024,',
    to: 'maxHeaderSize: 2 ** 30,',
    tests: client,
  },
  {
    file: `${here}/proxy-environment.ts`,
    removes: 'NO_PROXY',
    from: 'if (exempt.some((holds) => holds(url))) return undefined;',
    to: '',
    tests: [`${here}/proxy-environment.test.ts`],
  },
  {
    file: `${here}/connections.ts`,
    removes: "the system's certificate authorities",
    from: 'const all = [...node, ...system, ...ca];',
    to: 'const all = [...node, ...ca];',
    tests: client,
  },
  {
    file: `${here}/trust-anchors.ts`,
    removes: 'the check that a block is a certificate',
    from: 'if (isTlsCertificate(content))',
    to: 'if (true as boolean)',
    tests: [`${here}/trust-anchors.test.ts`],
  },
];
