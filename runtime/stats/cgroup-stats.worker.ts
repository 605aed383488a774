import { closeSync, openSync, readSync, readdirSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { meansGone } from '../../base/errors/index.ts';
import type { CgroupReader } from './cgroup-files.ts';
import type { CgroupDetail, CgroupUsage } from './cgroup-reading.ts';
import type { CgroupTarget, FromWorker, ToWorker, WorkerSettings } from './cgroup-stats.types.ts';
import { cgroupV1Reader } from './cgroup-v1.ts';
import { cgroupV2Reader } from './cgroup-v2.ts';
import { createCpuSamples } from './cpu-samples.ts';
import { countOfProcesses } from './process-counts.ts';

const { mounts, sampleEveryMs } = workerData as WorkerSettings;
const port = parentPort;
if (port === null) throw new TypeError('this module runs in a Worker');

const buffer = Buffer.allocUnsafe(256 * 1024);

/**
 * Reads a file with three synchronous system calls into one shared buffer. The kernel generates a file of
 * cgroupfs while it is read, so waiting for it in libuv's pool costs four times the processor time and delays
 * everything else in that queue.
 */
function read(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    let length = 0;
    // A long file arrives one page at a time.
    for (;;) {
      const got = readSync(fd, buffer, length, buffer.length - length, null);
      length += got;
      if (got === 0 || length === buffer.length) return buffer.toString('latin1', 0, length);
    }
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}

/**
 * Returns `2MB` and `1GB` for `hugepages-2048kB` and `hugepages-1048576kB`, as in the names of cgroup files.
 */
function hugepageSizes(): string[] {
  try {
    return readdirSync('/sys/kernel/mm/hugepages').flatMap((name) => {
      const kilobytes = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1]);
      if (Number.isNaN(kilobytes)) return [];
      if (kilobytes >= 1024 * 1024) return [`${kilobytes / 1024 / 1024}GB`];
      return [kilobytes >= 1024 ? `${kilobytes / 1024}MB` : `${kilobytes}KB`];
    });
  } catch (cause) {
    if (!meansGone(cause)) throw cause;
    return [];
  }
}

const deviceNames = new Map<string, string>();

/** Returns `/dev/sda` for `8:0`, as sysfs links it (sysfs-block: /sys/dev/block). */
function deviceName(device: string): string {
  const known = deviceNames.get(device);
  if (known !== undefined) return known;
  let name = device;
  try {
    name = `/dev/${basename(readlinkSync(`/sys/dev/block/${device}`))}`;
  } catch {
    // The device no longer exists, or never had a name.
  }
  // Devices come and go. Most entries of a list this long are of removed devices.
  if (deviceNames.size >= 1_000) deviceNames.clear();
  deviceNames.set(device, name);
  return name;
}

const reader: CgroupReader = (mounts.version === 1 ? cgroupV1Reader : cgroupV2Reader)(
  mounts,
  read,
  hugepageSizes(),
);
const samples = createCpuSamples();
let watched: readonly CgroupTarget[] = [];

/**
 * Uses the current wall clock. The time of `performance` counts from the start of this thread and does not
 * follow changes of the clock.
 */
const since1970 = (): bigint => BigInt(Date.now()) * 1_000_000n;

function sample(targets: readonly CgroupTarget[]): void {
  for (const { id, cgroup } of targets) {
    const usageNs = reader.cpuTime(cgroup);
    if (usageNs !== undefined) samples.add(id, { atMs: performance.now(), usageNs });
  }
}

/** Adds the time and the rate. A cgroup that is requested before the first round is sampled now. */
function reported<Reading extends Omit<CgroupUsage, 'at'>>(
  id: string,
  reading: Reading,
): Reading & { at: bigint } {
  const at = since1970();
  if (reading.cpu === undefined) return { ...reading, at };
  const now = { atMs: performance.now(), usageNs: reading.cpu.usageNs };
  if (!samples.has(id)) samples.add(id, now);
  const nanoCores = samples.nanoCores(id, now);
  return { ...reading, at, cpu: { ...reading.cpu, ...(nanoCores !== undefined && { nanoCores }) } };
}

function usage({ id, cgroup }: CgroupTarget): CgroupUsage | undefined {
  const found = reader.usage(cgroup);
  return found === undefined ? undefined : reported(id, found);
}

function detail({ id, cgroup, pid, hasEnded }: CgroupTarget): CgroupDetail | undefined {
  if (hasEnded === true) {
    const oomKills = reader.oomKills(cgroup);
    return oomKills === undefined ? undefined : { at: since1970(), oomKills, blockIo: [], hugepages: [] };
  }
  const found = reader.detail(cgroup);
  if (found === undefined) return undefined;
  const processes = pid === undefined ? undefined : countOfProcesses(reader.processes(cgroup), pid, read);
  const blockIo = found.blockIo.map((io) => ({ ...io, name: deviceName(io.device) }));
  return { ...reported(id, { ...found, blockIo }), ...(processes !== undefined && { processes }) };
}

setInterval(() => sample(watched), sampleEveryMs);

port.on('message', (message: ToWorker) => {
  if (message.do === 'watch') {
    watched = message.targets;
    samples.keep(new Set(watched.map(({ id }) => id)));
    sample(watched.filter(({ id }) => !samples.has(id)));
    return;
  }
  const answer = message.do === 'usage' ? message.targets.map(usage) : message.targets.map(detail);
  port.postMessage({ sequence: message.sequence, answer } satisfies FromWorker);
});
