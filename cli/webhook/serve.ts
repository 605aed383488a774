import { join } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import {
  followPolicy,
  openCertificateFiles,
  openClusterCertificate,
  registryConnections,
  startWebhook,
} from '../../admission/index.ts';
import type { PolicyInForce, ServingPair, Webhook } from '../../admission/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { createApiClient, readApiAccess } from '../../base/kubernetes/index.ts';
import type { ApiClient } from '../../base/kubernetes/index.ts';
import { createLogger } from '../../base/log/index.ts';
import type { Logger, LogLevel } from '../../base/log/index.ts';
import { openTemporaryFolder } from '../../base/storage/index.ts';
import type { Platform } from '../../trust/index.ts';
import { parseDuration } from '../../trust/policy/index.ts';
import { openDecider, readPlatform, trustStateOption } from '../options/decision-options.ts';
import { collect, withRegistries } from '../options/registry-options.ts';
import type { RegistryFlags } from '../options/registry-options.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import { untilStopSignal } from '../output/stop-signal.ts';
import type { OutputFormat } from '../output/output.ts';

interface ServeFlags extends RegistryFlags {
  readonly listen: string;
  readonly policy: readonly string[];
  readonly policyFromCluster: boolean;
  readonly policyFiles?: string;
  readonly kubeconfig?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly service: string;
  readonly tlsSecret: string;
  readonly configuration: string;
  readonly certificateLifetime: string;
  readonly platform: readonly (Platform | 'all')[];
  readonly allowUnread: boolean;
  readonly drain: string;
  readonly trustState: string;
  readonly logLevel: LogLevel;
  readonly output: OutputFormat;
}

const examples = `
Serves /validate and /mutate for the API server, and /healthz, /readyz and /metrics, until SIGTERM or SIGINT. The policy comes from files (--policy), or from
TrustPolicy and EntitlementProfile objects (--policy-from-cluster), never from both. Without a valid policy every image is refused.

Without --tls-cert the webhook makes its certificate itself: it is stored in a Secret that all replicas share, its authority is entered into the
webhook configurations, and it is renewed when a third of its time is left.

Examples:
  $ portcullis webhook serve --policy-from-cluster --policy-files /etc/portcullis/keys
  $ portcullis webhook serve --policy /etc/portcullis/policy --tls-cert tls.crt --tls-key tls.key
  $ portcullis webhook serve --listen 127.0.0.1:8443 --kubeconfig admin.conf --policy-from-cluster --tls-cert tls.crt --tls-key tls.key

Exit status: 0 stopped; 2 wrong use; 4 failed.`;

/** `portcullis webhook serve`: serves the admission webhook until SIGTERM or SIGINT. */
export function registerServe(webhook: Command): void {
  const command = webhook
    .command('serve')
    .description('answer admission reviews of an API server by a trust policy')
    .option('--listen <host:port>', 'where to listen', ':8443')
    .option('--policy <path>', 'policy file or folder; may be repeated', collect, [])
    .option('--policy-from-cluster', 'follow the TrustPolicy and EntitlementProfile objects', false)
    .option(
      '--policy-files <folder>',
      'keys and other files that policies of the cluster name by relative paths',
    )
    .option('--kubeconfig <file>', 'how to reach the API server; default: the service account of the pod')
    .option('--tls-cert <file>', 'PEM certificate chain that another program renews; read again every 10 s')
    .option('--tls-key <file>', 'PEM private key of the certificate')
    .option(
      '--service <namespace/name>',
      'Service of the webhook, for the name in the certificate that the webhook makes',
      'portcullis-webhook/portcullis-webhook',
    )
    .option(
      '--tls-secret <name>',
      'Secret in the namespace of the Service for the certificate that the webhook makes',
      'portcullis-webhook-tls',
    )
    .option(
      '--configuration <name>',
      'name of the ValidatingWebhookConfiguration and of the MutatingWebhookConfiguration',
      'portcullis-webhook',
    )
    .option('--certificate-lifetime <duration>', 'lifetime of the certificate that the webhook makes', '90d')
    .addOption(
      new Option(
        '--platform <os/arch[/variant]>',
        'platform to select from an index, or "all"; may be repeated; default: the platform of this machine',
      )
        .argParser((text: string, before: ServeFlags['platform']) => [
          ...before,
          text === 'all' ? ('all' as const) : readPlatform(text),
        ])
        .default([], 'the platform of this machine'),
    )
    .option(
      '--allow-unread',
      'warn about parts of objects whose images are not checked, instead of refusing them',
      false,
    )
    .option('--drain <duration>', 'how long requests are accepted after SIGTERM', '5s')
    .addOption(
      new Option('--log-level <level>', 'the lowest level of the log on standard error')
        .choices(['debug', 'info', 'warn', 'error', 'silent'])
        .default('info'),
    )
    .addOption(trustStateOption());
  withOutput(withRegistries(command))
    .addHelpText('after', examples)
    .action((flags: ServeFlags) => {
      const wrong = wrongUse(flags);
      if (wrong !== undefined) command.error(`error: ${wrong}`, { exitCode: exitCodes.usage });
      return run(flags.output, () => serve(flags));
    });
}

function wrongUse(flags: ServeFlags): string | undefined {
  if (flags.policyFromCluster === flags.policy.length > 0)
    return 'name --policy PATH, or --policy-from-cluster: one of the two';
  if (flags.policyFiles !== undefined && !flags.policyFromCluster)
    return '--policy-files needs --policy-from-cluster';
  if ((flags.tlsCert === undefined) !== (flags.tlsKey === undefined))
    return '--tls-cert and --tls-key belong together';
  if (flags.platform.includes('all') && flags.platform.length > 1)
    return '--platform all cannot be combined with another platform';
  if (!/^[a-z0-9-]{1,63}\/[a-z0-9-]{1,63}$/.test(flags.service)) return '--service is not NAMESPACE/NAME';
  for (const name of ['certificateLifetime', 'drain'] as const)
    if (parseDuration(flags[name]) === undefined && flags[name] !== '0s')
      return `${JSON.stringify(flags[name])} is not a duration such as 30s, 10m or 90d`;
  // The certificate is checked twenty times in its lifetime, and its end has to be a date.
  const lifetime = msOf(flags.certificateLifetime);
  if (lifetime < 60_000 || lifetime > 100 * 365 * 86_400_000)
    return '--certificate-lifetime is not between 60s and 36500d';
  // The steps after the drain have their own time; a timer cannot wait longer than 24 days.
  if (msOf(flags.drain) > 3_600_000) return '--drain is longer than 1h';
  return undefined;
}

const msOf = (duration: string): number => (parseDuration(duration) ?? 0) * 1000;

async function serve(flags: ServeFlags): Promise<number> {
  const log = createLogger({ level: flags.logLevel });
  const stopped = new AbortController();
  const stop = untilStopSignal(() => stopped.abort(new Error('the webhook was asked to stop')));
  // Everything that was opened is closed in the opposite order.
  const open: (() => Promise<void> | void)[] = [];
  try {
    const needsApi = flags.policyFromCluster || flags.tlsCert === undefined;
    const clock = createServerClock();
    const client = needsApi ? openClient(flags, clock.heard) : undefined;
    if (client !== undefined) open.push(() => client.close());
    const decider = await openDecider(flags, registryConnections);
    open.push(() => decider.close());
    const policy = await openPolicyOf(flags, client, log, open);
    // The certificate may change before the server exists.
    const late: { pair: ServingPair | undefined; webhook: Webhook | undefined } = {
      pair: undefined,
      webhook: undefined,
    };
    const onChange = (pair: ServingPair): void => {
      late.pair = pair;
      late.webhook?.usePair(pair);
    };
    const context = { log, onChange, signal: stopped.signal, now: clock.now };
    const pair = await openPair(flags, client, context, open);
    const platforms = flags.platform.includes('all')
      ? 'all'
      : flags.platform.filter((platform) => platform !== 'all');
    const webhook = await startWebhook({
      ...{ listen: flags.listen, policy, pair, drainMs: msOf(flags.drain), log, platforms },
      allowUnread: flags.allowUnread,
      registry: decider.registry,
      services: decider.services,
    });
    open.push(() => webhook.close());
    late.webhook = webhook;
    if (late.pair !== undefined) webhook.usePair(late.pair);
    print(flags.output, { url: webhook.url }, `serving ${webhook.url}\n`);
    await stop;
    return exitCodes.yes;
  } finally {
    for (const close of open.reverse()) await close();
  }
}

/**
 * The clock of the API server, as its latest answer says. The API server judges the certificate of the
 * webhook by this clock. By their own clocks, replicas would renew each other's certificates without end.
 */
function createServerClock(): { readonly heard: (time: number) => void; readonly now: () => number } {
  let ahead = 0;
  return {
    heard: (time) => (ahead = Date.now() - time),
    now: () => Date.now() - ahead,
  };
}

function openClient({ kubeconfig }: ServeFlags, onDate: (time: number) => void): ApiClient {
  return createApiClient(() => readApiAccess(kubeconfig === undefined ? {} : { kubeconfig }), {
    userAgent: 'portcullis-webhook',
    rights: 'do what packaging/kubernetes/webhook/rbac.yaml lists',
    meanwhile: 'the policy and the certificate stay as they are',
    onDate,
  });
}

async function openPolicyOf(
  flags: ServeFlags,
  client: ApiClient | undefined,
  log: Logger,
  open: (() => Promise<void> | void)[],
): Promise<PolicyInForce> {
  const { loadPolicySet, openPolicy } = await import('../../runtime/index.ts');
  if (client === undefined || !flags.policyFromCluster) {
    const holder = await openPolicy({ paths: flags.policy }, log);
    open.push(() => holder.close());
    return holder;
  }
  const folder = await openTemporaryFolder('portcullis-webhook-');
  open.push(() => folder.close());
  const followed = followPolicy({
    ...{ client, load: loadPolicySet, folder: join(folder.path, 'policy'), log },
    ...(flags.policyFiles === undefined ? {} : { referred: flags.policyFiles }),
  });
  open.push(() => followed.close());
  return followed;
}

interface PairContext {
  readonly log: Logger;
  readonly onChange: (pair: ServingPair) => void;
  readonly signal: AbortSignal;
  readonly now: () => number;
}

async function openPair(
  flags: ServeFlags,
  client: ApiClient | undefined,
  { log, onChange, signal, now }: PairContext,
  open: (() => Promise<void> | void)[],
): Promise<ServingPair> {
  const { tlsCert, tlsKey } = flags;
  if (tlsCert !== undefined && tlsKey !== undefined) {
    const files = await openCertificateFiles({ certificate: tlsCert, key: tlsKey, log, onChange });
    open.push(() => files.close());
    return files.pair;
  }
  if (client === undefined)
    throw new PortcullisError({
      code: 'CLI_MISUSE',
      kind: 'invalid',
      attempted: 'serve the webhook',
      on: '',
      why: 'there is no certificate',
      fix: 'name --tls-cert and --tls-key',
    });
  const [namespace = '', service = ''] = flags.service.split('/');
  const certificate = await openClusterCertificate(
    {
      ...{ client, namespace, secret: flags.tlsSecret, configuration: flags.configuration, log, onChange },
      names: [
        `${service}.${namespace}.svc`,
        `${service}.${namespace}.svc.cluster.local`,
        `${service}.${namespace}`,
      ],
      lifetimeMs: msOf(flags.certificateLifetime),
      now,
    },
    signal,
  );
  open.push(() => certificate.close());
  return certificate.pair;
}
