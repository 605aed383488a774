import { isTable, unreadKeys } from './findings.ts';
import type { Mapped, Table } from './findings.ts';
import { shimHandler, shimOf, textOf } from './values.ts';

const annotations = 'a pod cannot change its handler by annotations; requests that do so have no effect';
const hostDevices = 'an EntitlementProfile lists the devices of the host that a container has';
const networks = 'all pods have the networks of `cni.confDir`';

/** Why keys of containerd's table of a runtime are left out. */
const containerdNotes: Readonly<Record<string, string>> = {
  pod_annotations: annotations,
  container_annotations: annotations,
  privileged_without_host_devices: hostDevices,
  privileged_without_host_devices_all_devices_allowed: hostDevices,
  base_runtime_spec: 'the specification is compiled from the entitlements: write an EntitlementProfile',
  cni_conf_dir: networks,
  cni_max_conf_num: networks,
  snapshotter: 'layers are mounted with overlayfs',
  io_type: 'the daemon chooses how output is transferred',
  'options.Root': 'the state of a runtime is in the folder `state`',
  'options.ShimCgroup': 'monitors run in the cgroup of their pod, or of the daemon',
  'options.CriuPath': 'the daemon finds criu itself; `checkpoint.enabled` enables checkpoints',
};

/**
 * An OCI runtime behind containerd's runc shim becomes a handler without a shim. For another shim, the
 * handler is that shim.
 * Source: containerd, docs/cri/config.md.
 */
export function containerdRuntime(value: unknown, path: readonly string[], whole: Table): Mapped {
  const name = path.at(-1) ?? '';
  if (!isTable(value)) return { left: 'it is not a table' };
  const options = isTable(value['options']) ? value['options'] : {};
  const type = value['runtime_type'];
  if (name.includes('.')) return { left: 'the name of a handler must not contain a dot' };
  const named = textOf(options['BinaryName']);
  // A relative path in config.yaml is relative to the folder of this file.
  const isInPath = named !== undefined && !named.includes('/');
  const binary = isInPath ? `/usr/bin/${named}` : named;
  const except = (...read: readonly string[]): ReturnType<typeof unreadKeys> => [
    ...unreadKeys(value, ['runtime_type', 'options.BinaryName', 'options.TypeUrl', ...read], containerdNotes),
    ...(isInPath ? [[['options', 'BinaryName'], programInPath] as const] : []),
  ];
  if (type !== undefined && !/^io\.containerd\.runc\.v\d+$/.test(textOf(type) ?? '')) {
    const shim = shimOf(textOf(value['runtime_path']) ?? type);
    if (shim === undefined) return { left: `${JSON.stringify(type)} is not the name of a shim` };
    return {
      set: { [`runtimes.${name}`]: shimHandler(shim, binary, textOf(options['ConfigPath'])) },
      except: except('runtime_path', 'options.ConfigPath'),
    };
  }
  const driver = options['SystemdCgroup'];
  const wanted = driverOfDefault(path, whole) ?? driver;
  return {
    set: {
      [`runtimes.${name}`]: {
        path: binary ?? '/usr/sbin/runc',
        ...(value['cgroup_writable'] === true && { writableCgroups: true }),
      },
      ...(typeof driver === 'boolean' && { cgroupDriver: wanted === true ? 'systemd' : 'cgroupfs' }),
    },
    except: [
      ...except('cgroup_writable', 'options.SystemdCgroup'),
      ...(typeof driver === 'boolean' && driver !== wanted
        ? [[['options', 'SystemdCgroup'], otherDriver] as const]
        : []),
    ],
  };
}

const programInPath =
  'containerd searches PATH for this program: check its path, which is set to the folder /usr/bin';
const otherDriver = 'all handlers have one `cgroupDriver`: that of the default handler';

/** Returns `SystemdCgroup` of the default handler among the handlers beside `path`, if it has this option. */
function driverOfDefault(path: readonly string[], whole: Table): boolean | undefined {
  const inTable = (table: unknown, step: string): unknown => (isTable(table) ? table[step] : undefined);
  const plugin = path.slice(0, -2).reduce<unknown>(inTable, whole);
  const name = textOf(inTable(plugin, 'default_runtime_name')) ?? 'runc';
  const driver = ['runtimes', name, 'options', 'SystemdCgroup'].reduce<unknown>(inTable, plugin);
  return typeof driver === 'boolean' ? driver : undefined;
}

/** Why keys of CRI-O's table of a runtime are left out. */
const crioNotes: Readonly<Record<string, string>> = {
  allowed_annotations: annotations,
  disallowed_annotations: annotations,
  default_annotations: annotations,
  privileged_without_host_devices: hostDevices,
  seccomp_profile:
    'the filter is compiled from the entitlements of the container: write an EntitlementProfile',
  runtime_root: 'the state of a runtime is in the folder `state`',
  monitor_path: 'the daemon finds conmon in the folders that distributions use',
  monitor_cgroup: 'the daemon chooses the cgroup of monitors',
  monitor_exec_cgroup: 'the daemon chooses the cgroup of monitors',
  runtime_pull_image: 'images are always pulled and verified by the daemon itself',
};

/** Source: crio.conf(5), the table crio.runtime.runtimes. */
export function crioRuntime(value: unknown, path: readonly string[]): Mapped {
  const name = path.at(-1) ?? '';
  if (!isTable(value)) return { left: 'it is not a table' };
  if (!/^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$/.test(name))
    return { left: 'its name is not a valid name of a handler' };
  const read = ['runtime_path', 'runtime_type'];
  const program = textOf(value['runtime_path']);
  const type = textOf(value['runtime_type']) ?? 'oci';
  if (type === 'oci' || type === 'pod')
    return {
      set: { [`runtimes.${name}`]: { path: program ?? `/usr/bin/${name}` } },
      except: unreadKeys(value, read, crioNotes),
    };
  // A runtime with virtual machines is the shim of containerd for it.
  if (type !== 'vm' || program === undefined)
    return { left: 'a handler is an OCI runtime, or a shim with the type "vm" and a `runtime_path`' };
  return {
    set: { [`runtimes.${name}`]: shimHandler(program, undefined, textOf(value['runtime_config_path'])) },
    except: unreadKeys(value, [...read, 'runtime_config_path'], crioNotes),
  };
}
