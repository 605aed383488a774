import type { Command } from 'commander';
import { openEtcd } from '../../cni-plugins/index.ts';
import type { EtcdClient } from '../../cni-plugins/index.ts';
import { collect } from '../options/registry-options.ts';

export interface EtcdFlags {
  readonly etcd?: readonly string[];
  readonly etcdCa?: string;
  readonly etcdCert?: string;
  readonly etcdKey?: string;
}

/** Adds the options of the etcd cluster of groups. */
export function withEtcd(command: Command): Command {
  return command
    .option(
      '--etcd <url>',
      'member of the etcd cluster of groups, such as https://192.0.2.10:2379; may be repeated',
      collect,
    )
    .option('--etcd-ca <file>', 'authorities (PEM) that are trusted for etcd; default: those of the system')
    .option('--etcd-cert <file>', 'client certificate (PEM) for etcd')
    .option('--etcd-key <file>', 'private key (PEM) of the client certificate');
}

/** Returns what is wrong with the options; undefined: they can be used. */
export function wrongEtcd(
  { etcd, etcdCa, etcdCert, etcdKey }: EtcdFlags,
  isNeeded: boolean,
): string | undefined {
  if (etcd === undefined) {
    if (isNeeded) return 'name the etcd cluster: --etcd URL';
    return (etcdCa ?? etcdCert ?? etcdKey) === undefined
      ? undefined
      : '--etcd-ca, --etcd-cert and --etcd-key need --etcd';
  }
  const wrong = etcd.find((url) => !/^https?:\/\/[^/?#@]+\/?$/u.test(url));
  if (wrong !== undefined) return `${JSON.stringify(wrong)} is not a URL such as https://192.0.2.10:2379`;
  if ((etcdCert === undefined) !== (etcdKey === undefined))
    return '--etcd-cert and --etcd-key belong together';
  return undefined;
}

/** Opens a client. @throws OVERLAY_ETCD_UNREACHABLE when certificates cannot be used */
export function openEtcdOf(
  { etcd = [], etcdCa, etcdCert, etcdKey }: EtcdFlags,
  report?: (problem: string) => void,
): EtcdClient {
  return openEtcd(
    {
      endpoints: etcd,
      files: {
        ...(etcdCa !== undefined && { ca: etcdCa }),
        ...(etcdCert !== undefined && { cert: etcdCert }),
        ...(etcdKey !== undefined && { key: etcdKey }),
      },
    },
    report,
  );
}
