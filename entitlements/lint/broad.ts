import { capabilityName } from '../capabilities/capability-names.ts';
import { entitlementNamed } from '../catalog/catalog.ts';
import type { Capability } from '../types.ts';
import { readDevice } from '../profile/devices.ts';
import type { ResolvedProfile } from '../document/resolve.ts';
import type { Find } from './finding.ts';
import { patternPairs } from './patterns.ts';

const CAPABILITY_REACH: ReadonlyMap<Capability, string> = new Map([
  ['BPF', 'loads programs into the kernel'],
  ['CHECKPOINT_RESTORE', 'reads and restores any process'],
  ['DAC_READ_SEARCH', 'reads every file, and files of the host with open_by_handle_at'],
  ['MAC_ADMIN', 'changes the rules of the security modules'],
  ['MAC_OVERRIDE', 'is exempt from the rules of the security modules'],
  ['NET_ADMIN', 'configures the network: routes, firewalls, packet capture'],
  ['PERFMON', 'reads the kernel’s memory through performance events'],
  ['SYS_ADMIN', 'is equivalent to root on the host: mounts, namespaces and hundreds of other checks'],
  ['SYS_BOOT', 'reboots the host and loads another kernel'],
  ['SYS_MODULE', 'loads code into the kernel'],
  ['SYS_PTRACE', 'reads and controls any process that it sees'],
  ['SYS_RAWIO', 'accesses devices and memory directly'],
  ['SYS_TIME', 'sets the clocks of the host'],
]);

const CALL_REACH: ReadonlyMap<string, string> = new Map([
  ['add_key', 'the keyrings are the user’s, not the container’s'],
  ['bpf', 'it loads programs into the kernel'],
  ['clone', 'with any flags it makes user namespaces, which open much of the kernel'],
  ['clone3', 'its flags are behind a pointer, so no filter can prevent it from making user namespaces'],
  ['init_module', 'it loads code into the kernel'],
  ['finit_module', 'it loads code into the kernel'],
  ['io_uring_enter', 'requests of io_uring pass the filter unseen'],
  ['io_uring_setup', 'requests of io_uring pass the filter unseen'],
  ['kexec_file_load', 'it loads another kernel'],
  ['kexec_load', 'it loads another kernel'],
  ['keyctl', 'the keyrings are the user’s, not the container’s'],
  ['mount', 'with CAP_SYS_ADMIN it changes what paths mean'],
  ['open_by_handle_at', 'with CAP_DAC_READ_SEARCH it opens files of the host'],
  ['perf_event_open', 'attacks on the kernel have used it many times'],
  ['personality', 'with any value it turns protections of memory off'],
  ['request_key', 'the keyrings are the user’s, not the container’s'],
  ['setns', 'it enters other namespaces'],
  [
    'socket',
    'with any family it reaches the kernel’s cryptography (AF_ALG) and the host’s own sockets (AF_VSOCK)',
  ],
  ['unshare', 'with any flags it makes user namespaces, which open much of the kernel'],
  ['userfaultfd', 'it stops the kernel in the middle of a copy, which makes races easy'],
]);

/** Finds grants with a wide reach. */
export function broadGrants({ value }: ResolvedProfile, find: Find): void {
  (value.entitlements ?? []).forEach((text, at) => {
    const found = entitlementNamed(text);
    if ('problem' in found || found.entry.risk !== 'critical') return;
    const grantsNothing = Object.keys(found.grants).length === 0;
    if (!grantsNothing)
      find(
        'broad-grant',
        ['entitlements', at],
        `${found.entry.name} is critical: ${found.entry.title}`,
        'name the parts of it that are needed',
      );
  });
  (value.capabilities?.add ?? []).forEach((text, at) => {
    const reach = CAPABILITY_REACH.get(capabilityName(text) ?? '');
    if (reach !== undefined)
      find(
        'broad-grant',
        ['capabilities', 'add', at],
        `${text} ${reach}`,
        'grant the entitlement or the call that is needed',
      );
  });
  (value.syscalls?.add ?? []).forEach((item, at) => {
    const reach = typeof item === 'string' ? CALL_REACH.get(item) : undefined;
    if (reach === undefined) return;
    find(
      'broad-grant',
      ['syscalls', 'add', at],
      `${String(item)}: ${reach}`,
      'leave it out, or allow it with certain arguments',
    );
  });
  broadPeers(value.network ?? {}, find);
  broadFiles(value.files ?? {}, find);
  (value.devices?.add ?? []).forEach((text, at) => {
    const found = readDevice(text);
    const [grant] = 'value' in found ? found.value.filter(({ access }) => access !== 'm') : [];
    if (grant === undefined) return;
    const path = ['devices', 'add', at];
    if (grant.major === undefined)
      find('broad-grant', path, `${text} is every device of its type`, 'name major and minor');
    else if (grant.type === 'b')
      find(
        'broad-grant',
        path,
        `${text} is a disk or a part of one, and bypasses the permissions of its files`,
        'mount what is needed as a volume',
      );
    else if (grant.major === 1 && [1, 2, 4].includes(grant.minor ?? 1))
      find('broad-grant', path, `${text} is the memory of the machine`, 'remove it');
  });
}

function broadFiles(files: NonNullable<ResolvedProfile['value']['files']>, find: Find): void {
  const { within, overlap } = patternPairs();
  for (const access of ['write', 'execute'] as const) {
    (files[access] ?? []).forEach((pattern, at) => {
      if (within('/*/**', pattern))
        find(
          'broad-grant',
          ['files', access, at],
          `${pattern} matches every file, as if ${access} were omitted`,
          'name the folders that are needed',
        );
    });
  }
  (files.write ?? []).forEach((pattern, at) => {
    const run = files.execute?.find((other) => overlap(pattern, other) !== undefined);
    if (run === undefined) return;
    const path = overlap(pattern, run) ?? pattern;
    find(
      'write-execute',
      ['files', 'write', at],
      `${path} may be written, and run because of ${run}`,
      'keep programs and data in different folders',
    );
  });
}

function broadPeers(network: NonNullable<ResolvedProfile['value']['network']>, find: Find): void {
  for (const [direction, peer] of [
    ['egress', 'to'],
    ['ingress', 'from'],
  ] as const) {
    (network[direction] ?? []).forEach((rule, at) => {
      const named = rule[peer];
      const blocks = typeof named === 'string' ? [named] : (named ?? ['0.0.0.0/0']);
      if (
        rule.ports !== undefined ||
        rule.except !== undefined ||
        !blocks.some((block) => block.endsWith('/0'))
      )
        return;
      find(
        'broad-grant',
        ['network', direction, at],
        'it allows every port of every address, as if it were omitted',
        'name the ports, or the blocks',
      );
    });
  }
}
