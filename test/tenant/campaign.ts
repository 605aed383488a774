import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isPortcullisError } from '../../base/errors/index.ts';
import { podConfig } from '../fixtures/pod.ts';
import type { ContainerConfig, PodConfig } from '../fixtures/pod.ts';
import { patience } from '../fixtures/daemon.ts';
import { services } from './answers.ts';
import { changesSince, look } from './observer.ts';
import type { Difference, Snapshot } from './observer.ts';
import { allowed, mayOutlast } from './own.ts';
import type { Own } from './own.ts';
import { hostAddress, secret, tenantNamespace } from './scene/scene.ts';
import type { Scene } from './scene/scene.ts';
import type { Variant } from './variants/index.ts';

const exec = promisify(execFile);

export interface Result {
  readonly variant: Variant;
  /** `ran`, or the code of the refusal and the call that was refused. */
  readonly outcome: string;
  /** The changes outside, and what the tenant reached. */
  readonly differences: readonly string[];
  readonly milliseconds: number;
}

const marker = 'tenant-was-here';
const uid = 'uid-of-tenant';

/**
 * The attempts of the tenant's program, whatever the variant: it serves the ports of others, and writes,
 * reads and connects where it must not.
 */
const program = (scene: Scene, folders: readonly string[]): string => `
mkdir -p /tmp/w && echo tenant > /tmp/w/index.html
for p in 22 53 80 2222 8080 8443 10250; do httpd -p $p -h /tmp/w; done
(wget -q -T 1 -O - http://${scene.victim.vault.address}:8080/ | grep -q victim && echo REACHED the vault) &
(echo x > /proc/sys/vm/stat_interval; echo 6 > /proc/sys/kernel/printk_ratelimit; hostname evil; mount -t tmpfs x /mnt
ip addr add ${scene.victim.web.address}/24 dev eth0; ip route add ${hostAddress} dev eth0; ip link set eth0 address 0a:58:0a:e7:00:02
timeout 1 arping -c 1 -U -I eth0 -s ${scene.victim.web.address} 10.231.0.1 &
${folders.map((folder) => `[ -d '${folder}' ] && echo x > '${folder}/${marker}'; head -c 4096 '${folder}' '${folder}/shadow' '${folder}/token' '${folder}/etc/shadow' | grep -a -o '${secret}'`).join('\n')}
) 2>/dev/null
exec sleep 600`;

interface Asked {
  readonly pod: PodConfig;
  readonly container: ContainerConfig;
}

function askOf(scene: Scene, variant: Variant): Asked {
  const plain = podConfig(scene.stage, 'tenant-pod', {
    metadata: { name: 'tenant-pod', uid, namespace: tenantNamespace, attempt: 0 },
    labels: { app: 'tenant' },
    logDirectory: join(scene.stage.logs, 'tenant'),
    dnsConfig: { servers: ['10.231.0.1'], searches: [], options: [] },
  });
  const pod = variant.pod?.(plain, scene) ?? plain;
  const namespaceOptions = pod.linux?.securityContext?.namespaceOptions;
  const base: ContainerConfig = {
    metadata: { name: 'main', attempt: 0 },
    image: { image: scene.images.tenant },
    logPath: 'main/0.log',
    linux: {
      securityContext: {
        ...(namespaceOptions !== undefined && { namespaceOptions }),
        ...(scene.ceiling === 'restricted' && { runAsUser: { value: 1000 }, runAsGroup: { value: 1000 } }),
      },
    },
  };
  const container = variant.container?.(base, scene) ?? base;
  const folders = (container.mounts ?? [])
    .slice(0, 20)
    .map(({ containerPath = '' }) => containerPath.replaceAll(/[^\w./-]/gu, ''));
  return { pod, container: { command: ['sh', '-c', program(scene, folders)], ...container } };
}

/** Returns links and addresses as the kernel has them, found from inside the pod's network namespace. */
async function ownOf(scene: Scene, ids: readonly string[], variant: Variant): Promise<Own> {
  const { info } = await scene.stage.daemon.cri.runtime.podSandboxStatus({
    podSandboxId: ids[0] ?? '',
    verbose: true,
  });
  const folder = /"namespaces":"([^"]+)"/u.exec(info['info'] ?? '')?.[1];
  const folders = [join(scene.stage.logs, 'tenant'), join(scene.kubeletRoot, 'pods', uid)];
  interface Link {
    readonly ifname: string;
    readonly ifindex: number;
    readonly link_index?: number;
    readonly address?: string;
    readonly addr_info: readonly { readonly local: string }[];
  }
  const read = async (...words: string[]): Promise<Link[]> =>
    JSON.parse((await exec(words[0] ?? '', words.slice(1))).stdout) as Link[];
  const [inside, outside] =
    folder === undefined || !existsSync(`${folder}/net`)
      ? [[], []]
      : await Promise.all([
          read('nsenter', `--net=${folder}/net`, 'ip', '-j', 'addr'),
          read('ip', '-j', 'addr'),
        ]);
  const ends = inside.flatMap(({ ifname, link_index: peer }) =>
    ifname === 'lo' ? [] : outside.filter(({ ifindex }) => ifindex === peer),
  );
  // Traffic with a bandwidth limit is sent through a link that the filter of this link names.
  const redirected = await Promise.all(
    ends.map(async ({ ifname }) => (await exec('tc', ['filter', 'show', 'dev', ifname, 'ingress'])).stdout),
  );
  const through = redirected.flatMap((text) =>
    [...text.matchAll(/Egress Redirect to device (\S+?)\)/gu)].map(([, name = '']) => name),
  );
  const addresses = [...inside.filter(({ ifname }) => ifname !== 'lo'), ...ends].flatMap(
    ({ address = '', addr_info: all }) => [address, ...all.map(({ local }) => local)],
  );
  const asked = typeof variant.services === 'function' ? variant.services(scene) : (variant.services ?? []);
  const joined = asked.flatMap((name) => [`pods/${name}`, `shared/${name}`]);
  const virtual =
    joined.length === 0
      ? []
      : (await services(scene))
          .filter((line) => joined.includes(line.split(' ')[1] ?? ''))
          .flatMap((line) =>
            [...line.matchAll(/"((?:10\.23[12]\.|fd00:23[12]:)[^"/]*)"/gu)].map(
              ([, address = '']) => address,
            ),
          );
  return {
    ids,
    links: [...ends.map(({ ifname }) => ifname), ...through],
    addresses: addresses.filter((address) => address !== ''),
    virtual: [...new Set(virtual)].filter((address) => !addresses.includes(address)),
    services: joined,
    folders,
  };
}

/**
 * Returns what the tenant's own program found, according to its log; and what it left in folders of the host
 * that were mounted for it.
 */
function reached(scene: Scene, { container }: Asked): string[] {
  const log = join(scene.stage.logs, 'tenant/main/0.log');
  // A variant may have created a folder of that name.
  const said = statSync(log, { throwIfNoEntry: false })?.isFile() === true ? readFileSync(log, 'utf8') : '';
  const written = (container.mounts ?? [])
    .map(({ hostPath = '' }) => hostPath)
    .filter((path) => path.startsWith('/') && !path.includes('\0') && !path.includes('uid-of-tenant/volumes'))
    .filter((path) => existsSync(join(path, marker)));
  return [
    ...(said.includes('REACHED') ? ['the tenant reached the vault, which the NetworkPolicy closes'] : []),
    ...(said.includes(secret) ? ['the tenant read a file of the host or of the victim'] : []),
    ...written.map((path) => `the tenant wrote into ${path}`),
  ];
}

const codeOf = (call: string, thrown: unknown): string =>
  isPortcullisError(thrown)
    ? `${thrown.code} (${call})`
    : `${(thrown as { code?: string | number }).code ?? String(thrown).slice(0, 80)} (${call})`;

/** Pods that are gone: the kernel removes the entries of their locations by itself. */
const former = new WeakMap<Scene, Own[]>();

/** Runs a tenant's pod of one variant, and observes while it exists and after it is gone. */
export async function runVariant(scene: Scene, variant: Variant, before: Snapshot): Promise<Result> {
  const begin = performance.now();
  const { runtime } = scene.stage.daemon.cri;
  const asked = askOf(scene, variant);
  mkdirSync(join(scene.kubeletRoot, 'pods', uid, 'volumes/v'), { recursive: true });
  const ids: string[] = [];
  let outcome = 'ran';
  const attempt = async <T>(call: string, act: () => Promise<T>): Promise<T | undefined> => {
    if (outcome !== 'ran') return undefined;
    try {
      return await act();
    } catch (thrown) {
      outcome = codeOf(call, thrown);
      return undefined;
    }
  };
  const options = { timeoutMs: patience };
  const sandbox = await attempt('run', () =>
    runtime.runPodSandbox({ config: asked.pod, runtimeHandler: variant.handler ?? '' }, options),
  );
  if (sandbox !== undefined) ids.push(sandbox.podSandboxId);
  const created =
    sandbox &&
    (await attempt('create', () =>
      runtime.createContainer(
        { podSandboxId: sandbox.podSandboxId, config: asked.container, sandboxConfig: asked.pod },
        options,
      ),
    ));
  if (created !== undefined) {
    ids.push(created.containerId);
    await attempt('start', () => runtime.startContainer({ containerId: created.containerId }, options));
  }
  const differences: string[] = [];
  const report = (when: string, found: readonly Difference[]): void =>
    void differences.push(...found.map(({ what, line }) => `${when}: ${what}: ${line.slice(0, 600)}`));
  const isVictim = Object.values(scene.victim).some(({ id }) => id === ids[0]);
  if (isVictim) differences.push('the tenant was given the victim’s sandbox');
  // A refused sandbox owns nothing.
  const own = ids.length > 0 && !isVictim ? await ownOf(scene, ids, variant) : undefined;
  const gone = former.get(scene) ?? [];
  if (own !== undefined) gone.push(own);
  former.set(scene, gone);
  const mayRemain = (line: string): boolean => gone.some((each) => mayOutlast(line, each));
  if (own !== undefined) {
    report('while it is there', await changesSince(scene, before, (line) => allowed(line, own), mayRemain));
    await runtime.removePodSandbox({ podSandboxId: ids[0] ?? '' }, options);
  }
  differences.push(...reached(scene, asked));
  if (outcome === 'ran' && variant.mustRefuse === true)
    differences.push('it ran, although it requests something that no tenant may have');
  // As a kubelet does when a pod is gone.
  for (const path of [join(scene.stage.logs, 'tenant'), join(scene.kubeletRoot, 'pods', uid, 'volumes')])
    rmSync(path, { recursive: true, force: true });
  mkdirSync(join(scene.kubeletRoot, 'pods', uid, 'volumes/v'), { recursive: true });
  report('when it is gone', await changesSince(scene, before, undefined, mayRemain));
  return { variant, outcome, differences, milliseconds: performance.now() - begin };
}

/** Observes the host at rest: until two snapshots are the same. */
export async function restingLook(scene: Scene): Promise<Snapshot> {
  mkdirSync(join(scene.kubeletRoot, 'pods', uid, 'volumes/v'), { recursive: true });
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const before = await look(scene);
    if ((await changesSince(scene, before, undefined, undefined, 0)).length === 0) return before;
  }
  throw new Error('the host does not become idle');
}

export async function runCampaign(
  scene: Scene,
  chosen: readonly Variant[],
  report: (result: Result) => void,
): Promise<Result[]> {
  const results: Result[] = [];
  let before = await restingLook(scene);
  for (const variant of chosen) {
    const result = await runVariant(scene, variant, before);
    report(result);
    results.push(result);
    // A lasting change is one finding, and not one of each later variant.
    if (result.differences.length > 0) before = await restingLook(scene);
  }
  return results;
}

/**
 * Returns a line for each group: how many variants, how many were refused, how many ran, how many changed
 * something; and the codes of the refusals.
 */
export function tableOf(results: readonly Result[]): string {
  const groups = [...Map.groupBy(results, ({ variant }) => variant.group)];
  const line = (group: string, rows: readonly Result[]): string => {
    const ran = rows.filter(({ outcome }) => outcome === 'ran').length;
    const codes = [
      ...Map.groupBy(
        rows.filter(({ outcome }) => outcome !== 'ran'),
        ({ outcome }) => outcome,
      ),
    ].map(([code, all]) => `${code} ${all.length}`);
    const changed = rows.filter(({ differences }) => differences.length > 0).length;
    return `${group.padEnd(26)} ${String(rows.length).padStart(8)} ${String(rows.length - ran).padStart(7)} ${String(ran).padStart(5)} ${String(changed).padStart(11)}  ${codes.join(', ')}`;
  };
  return [
    `${'group'.padEnd(26)} variants refused   ran differences  refused by`,
    ...groups.map(([group, rows]) => line(group, rows)),
    line('all', results).replace(/ {2}[A-Z].*$/u, ''),
  ].join('\n');
}
