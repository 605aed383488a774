import { readFileSync } from 'node:fs';
import { PortcullisError, fileReason } from '../../../base/errors/index.ts';
import type { Fields } from '../../spec/fields.ts';
import { findLink } from '../../../base/netlink/index.ts';
import type { Plugin } from '../contract/contract.ts';
import { podOf } from '../interface/child-link.ts';
import { interfaceMissing } from '../interface/failures.ts';
import { previousOf, withInterface } from '../interface/previous.ts';
import { readMac, readMtu, readWantedMac } from '../interface/settings.ts';
import type { LinkTuning, Tuned } from './link-tuning.ts';
import { sysctlNameOf } from './sysctl-path.ts';

interface TuningConfig {
  /** Name as given, and value. */
  readonly sysctls: readonly (readonly [string, string])[];
  readonly wanted: Tuned;
}

interface Observed {
  readonly before: Required<Tuned>;
  /** Lines of the allow list. Absent: there is none, and every network sysctl is allowed. */
  readonly allowed?: readonly string[];
}

/** As in the upstream plugin: each line is a regular expression of sysctl names. */
const allowListFile = '/etc/cni/tuning/allowlist.conf';

/**
 * Changes sysctls and the link of the pod. Fields and semantics of the upstream plugin tuning: at the end
 * sysctls stay, and the link is restored.
 */
export const tuning: Plugin<TuningConfig> = {
  type: 'tuning',
  role: 'chained',
  capabilities: ['mac'],
  read(config, args) {
    const cni = config.object('args')?.object('cni');
    const sysctls = new Map([...readSysctls(config), ...(cni === undefined ? [] : readSysctls(cni))]);
    // upstream stores the former values there; we store them in the engine's database
    if (config.has('dataDir')) config.text('dataDir');
    const { promiscuous, ...wanted } = {
      ...withMac(readTuned(config), readWantedMac(config, args)),
      ...(cni === undefined ? {} : withMac(readTuned(cni), readMac(cni, 'mac'))),
    };
    // As upstream: false is the default, and does not request to turn it off.
    return { sysctls: [...sysctls], wanted: { ...wanted, ...(promiscuous === true && { promiscuous }) } };
  },
  observe(_config, kernel, input): Observed {
    const name = input.key.interface;
    const link = findLink(podOf(kernel, name).route, { name });
    if (link === undefined) throw interfaceMissing(name, 'pod');
    const { mac, mtu, queueLength, promiscuous, allMulticast } = link;
    const allowed = readAllowList(kernel.hostPath(allowListFile));
    return {
      before: { mac, mtu, queueLength, promiscuous, allMulticast },
      ...(allowed === undefined ? {} : { allowed }),
    };
  },
  plan({ sysctls, wanted }, input) {
    const previous = previousOf(input, 'tuning');
    const { before, allowed } = input.observed as Observed;
    const name = input.key.interface;
    const paths = sysctls.map(([given, value]): [string, string] => {
      const sysctl = sysctlNameOf(given, name);
      if (sysctl === undefined) throw sysctlRefused(given, 'it is not a sysctl of the network');
      if (allowed !== undefined && !isAllowed(sysctl.dotted, allowed))
        throw sysctlRefused(given, `${allowListFile} does not allow it`);
      return [sysctl.path, value];
    });
    const double = paths.find(([path], index) => paths.findIndex(([other]) => other === path) !== index);
    if (double !== undefined) throw sysctlRefused(double[0], 'it is set twice, under two spellings');
    const changed = Object.keys(wanted) as (keyof Tuned)[];
    const resource: LinkTuning = {
      kind: 'link-tuning',
      interface: name,
      sysctls: paths,
      wanted,
      before: Object.fromEntries(changed.map((setting) => [setting, before[setting]])),
    };
    const reported = {
      ...(wanted.mac === undefined ? {} : { mac: wanted.mac }),
      ...(wanted.mtu === undefined ? {} : { mtu: wanted.mtu }),
    };
    return { resources: [resource], result: withInterface(previous, name, reported) };
  },
};

const withMac = (tuned: Tuned, mac: string | undefined): Tuned =>
  mac === undefined ? tuned : { ...tuned, mac };

function readSysctls(fields: Fields): [string, string][] {
  const sysctls = fields.object('sysctl');
  return (sysctls?.names() ?? []).flatMap((name) => {
    const value = sysctls?.text(name);
    if (value === undefined) {
      if (sysctls?.has(name) === false)
        sysctls.problem(name, `the sysctl ${JSON.stringify(name)} must have a value`);
      return [];
    }
    // The value of IFNAME is known later: here any name will do.
    if (sysctlNameOf(name, 'eth0') === undefined)
      sysctls?.problem(name, `${JSON.stringify(name)} is not a sysctl of the network`);
    if (!/^[\x20-\x7e\t]{1,1024}$/u.test(value))
      sysctls?.problem(name, `${JSON.stringify(value)} is not a value of a sysctl`);
    return [[name, value]];
  });
}

function readTuned(fields: Fields): Tuned {
  const mtu = readMtu(fields);
  const queueLength = fields.whole('txQLen');
  if (queueLength !== undefined && (queueLength < 0 || queueLength > 0x7fffffff))
    fields.problem('txQLen', `${queueLength} is not a queue length`);
  return {
    ...(fields.has('promisc') ? { promiscuous: fields.flag('promisc', false) } : {}),
    ...(mtu === undefined ? {} : { mtu }),
    ...(fields.has('allmulti') ? { allMulticast: fields.flag('allmulti', false) } : {}),
    ...(queueLength === undefined ? {} : { queueLength }),
  };
}

/**
 * Returns undefined where there is no allow list. An unreadable allow list allows nothing: the call is
 * refused.
 */
function readAllowList(path: string): string[] | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw sysctlRefused(allowListFile, `the allow list cannot be read: ${fileReason(thrown, path)}`);
  }
  return text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [line.trim()]));
}

function isAllowed(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    try {
      return new RegExp(pattern, 'u').test(name);
    } catch {
      throw sysctlRefused(
        name,
        `${allowListFile} has the line ${JSON.stringify(pattern)}, which is not a regular expression`,
      );
    }
  });
}

function sysctlRefused(name: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SYSCTL_REFUSED',
    kind: 'precondition',
    attempted: 'set the sysctl',
    on: name,
    why,
    fix: `name a sysctl below net; if ${allowListFile} exists, allow the sysctl there`,
  });
}
