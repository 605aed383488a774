import { capabilityName } from '../capabilities/capability-names.ts';
import { formatAddress, parseCidr } from '../profile/cidr.ts';
import { entitlementsError } from '../errors.ts';
import type { HostNamespace } from '../profile/model.ts';
import type { FileAccess, NetworkProtocol } from '../types.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { clause } from '../seccomp/clause.ts';
import type { Clause } from '../seccomp/clause.ts';
import { constantsOf, constantValue } from '../seccomp/constants.ts';
import { argumentWidth, isSyscallName } from '../seccomp/syscalls.ts';
import type { Capability } from '../types.ts';

/** A yes-or-no question about what a profile lets a program do. */
export type Question = { readonly text: string } & (
  | { readonly kind: 'call'; readonly name: string; readonly when: Clause }
  | { readonly kind: 'file'; readonly access: FileAccess; readonly path: string }
  | {
      readonly kind: 'network';
      readonly direction: 'egress' | 'ingress';
      readonly protocol: NetworkProtocol;
      /** The canonical CIDR of one address. */
      readonly cidr: string;
      readonly port: number;
    }
  | { readonly kind: 'mount'; readonly fstype?: string; readonly target?: string }
  | { readonly kind: 'capability'; readonly name: Capability; readonly anyNamespace: boolean }
  | {
      readonly kind: 'device';
      readonly type: 'b' | 'c';
      readonly major?: number;
      readonly minor?: number;
      readonly access: readonly ('m' | 'r' | 'w')[];
    }
  | { readonly kind: 'share'; readonly namespace: HostNamespace }
  | { readonly kind: 'user-namespace' }
  | { readonly kind: 'gain' }
);

/** The grammar, for help and errors. */
export const questionGrammar = `  CALL                        any call of it: openat2
  CALL(ARG, …)                socket(AF_ALG); see below
  read|write|execute PATH     write /etc/passwd; a folder ends in /
  connect PROTOCOL PEER       connect tcp 10.0.0.1:53, connect icmp 10.0.0.1;
                              tcp, udp and sctp have a port
  accept PROTOCOL PEER        from this address, on the port of the program:
                              accept tcp 10.9.8.7:8080
  mount [TYPE] [on PATH]      mount overlay on /mnt
  capability NAME             held by a program of user 0: CAP_NET_ADMIN
  capability NAME anywhere    also in a user namespace that the program can make
  device TYPE NUMBERS ACCESS  device c 10:232 rw; * is any number
  share ipc|network|pid       the namespace of the host: share pid
  userns                      make a user namespace, with all capabilities
  gain privileges             by running a set-user-id program

  ARG is a number, a name of the kernel's headers, names joined by |, & and bits
  that are set, as in unshare(&CLONE_NEWUSER), or _ for anything. Absent
  arguments are anything.`;

/**
 * Parses a question of the grammar above.
 * @throws ENTITLEMENTS_BAD_QUESTION with the position in the text
 */
export function parseQuestion(text: string): Question {
  const words = text.trim().split(/\s+/);
  const [verb = '', ...rest] = words;
  const wrong = (at: string, why: string): Error => bad(text, Math.max(0, text.indexOf(at)), why);
  if (/^CAP_/i.test(verb) && rest.length === 0) return capability(text, verb, wrong);
  switch (verb) {
    case 'read':
    case 'write':
    case 'execute': {
      const path = text.trim().slice(verb.length).trim();
      // A single word `write` is the system call.
      if (path === '') break;
      if (!path.startsWith('/')) throw wrong(path, 'a path begins with /');
      if (/\/\/|\/\.\.?(\/|$)/.test(path))
        throw wrong(path, 'write the path as the kernel resolves it, without //, . and ..');
      return { text, kind: 'file', access: verb, path };
    }
    case 'connect':
    case 'accept':
      if (rest.length > 0) return network(text, verb, rest, wrong);
      break;
    case 'mount':
      return mount(text, rest, wrong);
    case 'capability':
      if (rest.length > 2 || (rest.length === 2 && rest[1] !== 'anywhere'))
        throw wrong(rest[1] ?? '', 'write capability NAME, or capability NAME anywhere');
      return { ...capability(text, rest[0] ?? '', wrong), anyNamespace: rest[1] === 'anywhere' };
    case 'device':
      return device(text, rest, wrong);
    case 'share': {
      const namespace = (['ipc', 'network', 'pid'] as const).find((name) => name === rest[0]);
      if (namespace === undefined || rest.length > 1)
        throw wrong(rest[0] ?? verb, 'name one namespace: ipc, network or pid');
      return { text, kind: 'share', namespace };
    }
    case 'userns':
      if (rest.length === 0) return { text, kind: 'user-namespace' };
      break;
    case 'gain':
      if (rest.length === 0 || (rest.length === 1 && rest[0] === 'privileges')) return { text, kind: 'gain' };
      break;
    default:
  }
  return call(text, wrong);
}

type Wrong = (at: string, why: string) => Error;

function call(text: string, wrong: Wrong): Question {
  const [whole, name = '', inside] = /^\s*([a-z_][a-z0-9_]*)\s*(?:\((.*)\))?\s*$/.exec(text) ?? [];
  if (whole === undefined) throw wrong(text, 'it does not match the grammar of questions');
  if (!isSyscallName(name)) throw wrong(name, `there is no system call ${name} on x86_64 or aarch64`);
  const written =
    inside === undefined || inside.trim() === '' ? [] : inside.split(',').map((part) => part.trim());
  if (written.length > 6) throw wrong(written[6] ?? '', 'a system call has six arguments at most');
  const tests = written.flatMap((part, index) => {
    if (part === '_' || part === '*') return [];
    const bits = part.startsWith('&');
    const value = argumentValue(name, index, bits ? part.slice(1).trim() : part);
    if (value === undefined) throw wrong(part, unknownArgument(name, index, part));
    const test = argumentTest(
      index,
      argumentWidth(name, index),
      bits ? { mask: value, value } : { low: value, high: value },
    );
    if (test === undefined)
      throw wrong(part, `argument ${index} of ${name} has ${argumentWidth(name, index)} bits`);
    return [test];
  });
  return { text, kind: 'call', name, when: clause(tests) };
}

function argumentValue(name: string, index: number, part: string): bigint | undefined {
  if (/^-\d{1,19}$/.test(part)) return BigInt.asUintN(argumentWidth(name, index), BigInt(part));
  if (!/^(0x[0-9a-f]{1,16}|\d{1,20})$/i.test(part)) return constantValue(name, index, part);
  const value = BigInt(part);
  // A question cannot contain bits that the kernel does not read: socket(0x100000026) is socket(38).
  return value < 1n << 64n ? BigInt.asUintN(argumentWidth(name, index), value) : undefined;
}

function unknownArgument(name: string, index: number, part: string): string {
  const known = [...constantsOf(name, index).keys()];
  const hint = known.length === 0 ? 'write a number' : `names there are ${known.slice(0, 5).join(', ')} …`;
  return `argument ${index} of ${name} has no value ${part}: ${hint}`;
}

function network(text: string, verb: 'accept' | 'connect', rest: readonly string[], wrong: Wrong): Question {
  const [name = '', peer = '', ...more] = rest;
  const protocol = (['icmp', 'sctp', 'tcp', 'udp'] as const).find((known) => known === name);
  if (protocol === undefined) throw wrong(name, 'name a protocol: tcp, udp, sctp or icmp');
  if (peer === '' || more.length > 0)
    throw wrong(more[0] ?? name, 'name one peer, as in 10.0.0.1:53 or [2001:db8::1]:53');
  const [whole, six, four, port] = /^(?:\[([^\]]+)\]|([^:]+|[0-9a-f:.]+?))(?::(\d{1,5}))?$/i.exec(peer) ?? [];
  const address = protocol === 'icmp' ? peer.replace(/^\[|\]$/g, '') : (six ?? four ?? '');
  const cidr = addressCidr(address);
  if (whole === undefined || cidr === undefined)
    throw wrong(peer, 'it is not an address: names are not looked up');
  const direction = verb === 'connect' ? 'egress' : 'ingress';
  const toPort = (at: number): Question => ({ text, kind: 'network', direction, protocol, cidr, port: at });
  if (protocol === 'icmp') return toPort(0);
  if (port === undefined || Number(port) > 65535) throw wrong(peer, 'a port of 0 to 65535 is missing');
  return toPort(Number(port));
}

/** Returns the CIDR of one address. The kernel reaches the peer of an IPv4-mapped IPv6 address by IPv4. */
function addressCidr(address: string): string | undefined {
  const plain = address.replace(/^::ffff:(?=\d+(?:\.\d+){3}$)/i, '');
  const cidr = `${plain}/${plain.includes(':') ? 128 : 32}`;
  const block = parseCidr(cidr);
  if (block?.family === 6 && block.address >> 32n === 0xffffn)
    return `${formatAddress(4, block.address & 0xffff_ffffn)}/32`;
  return block && cidr;
}

function mount(text: string, rest: readonly string[], wrong: Wrong): Question {
  const on = rest.indexOf('on');
  const types = on < 0 ? rest : rest.slice(0, on);
  const [fstype, ...more] = types;
  if (more.length > 0) throw wrong(more[0] ?? '', 'write mount, mount TYPE or mount TYPE on PATH');
  const target = on < 0 ? undefined : rest[on + 1];
  if (on >= 0 && (target?.startsWith('/') !== true || rest.length > on + 2))
    throw wrong(target ?? 'on', 'name one path after on');
  return {
    text,
    kind: 'mount',
    ...(fstype === undefined ? {} : { fstype }),
    ...(target === undefined ? {} : { target }),
  };
}

function capability(text: string, written: string, wrong: Wrong): Extract<Question, { kind: 'capability' }> {
  const name = capabilityName(written);
  if (name === undefined) throw wrong(written, `there is no capability ${written || '(none is named)'}`);
  return { text, kind: 'capability', name, anyNamespace: false };
}

function device(text: string, rest: readonly string[], wrong: Wrong): Question {
  const found = /^([bc]) (\d{1,7}|\*):(\d{1,7}|\*) ([rwm]{1,3})$/.exec(rest.join(' '));
  if (found === null) throw wrong(rest[0] ?? 'device', 'write it as device c 10:232 rw');
  const [, type, major, minor, access = ''] = found;
  return {
    text,
    kind: 'device',
    type: type === 'b' ? 'b' : 'c',
    ...(major === '*' ? {} : { major: Number(major) }),
    ...(minor === '*' ? {} : { minor: Number(minor) }),
    access: (['r', 'w', 'm'] as const).filter((letter) => access.includes(letter)),
  };
}

function bad(text: string, at: number, why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_QUESTION', {
    kind: 'invalid',
    attempted: 'read question',
    on: `${JSON.stringify(text)}, column ${at + 1}`,
    why,
    fix: `ask one of:\n${questionGrammar}\n`,
  });
}
