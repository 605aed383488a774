import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { attempt, fileReason } from '../../base/errors/index.ts';
import { gzipInflater } from '../../base/inflate/index.ts';
import { enableVerity } from '../../base/kernel/index.ts';
import type { Finding } from './finding.ts';

/** Free bytes that images and containers soon need. */
const comfortable = 5 * 2 ** 30;

/** The oldest tested release of each distribution, by the ID in os-release. */
const tested: ReadonlyMap<string, number> = new Map([
  ['debian', 12],
  ['ubuntu', 24.04],
]);

export function machineFindings(): readonly Finding[] {
  return [distribution(), architecture(), root(), disk(), inflater(), verity()];
}

function distribution(): Finding {
  // os-release(5): the second file is read if the first one does not exist.
  const texts = ['/etc/os-release', '/usr/lib/os-release'].map((file) =>
    attempt(() => readFileSync(file, 'utf8')),
  );
  return distributionFinding(texts.find((text) => text !== undefined) ?? '');
}

/** @param text of os-release; empty: the machine has no such file */
export function distributionFinding(text: string): Finding {
  const topic = 'distribution';
  const release = Object.fromEntries(
    text
      .split('\n')
      .map((line) => line.split('=') as [string, string?])
      .map(([key, value]) => [key, value?.replaceAll(/["']/gu, '') ?? '']),
  );
  const found = release['PRETTY_NAME'] ?? 'unknown';
  const oldest = tested.get(release['ID'] ?? '') ?? Infinity;
  if (Number(release['VERSION_ID']) >= oldest) return { topic, state: 'fine', found };
  return {
    topic,
    state: 'degraded',
    found,
    meaning: [
      'tested on Debian 12, Debian 13 and Ubuntu 24.04; `--fix` installs on Debian and its derivatives only',
    ],
  };
}

function architecture(): Finding {
  const topic = 'architecture';
  if (process.arch === 'x64' || process.arch === 'arm64')
    return { topic, state: 'fine', found: process.arch };
  return {
    topic,
    state: 'missing',
    found: process.arch,
    meaning: ['system call filters are made for x86_64 and aarch64'],
  };
}

function root(): Finding {
  const topic = 'root';
  if (process.getuid?.() === 0) return { topic, state: 'fine', found: 'yes' };
  return {
    topic,
    state: 'missing',
    found: `no: uid ${process.getuid?.() ?? '?'}`,
    meaning: ['the daemon mounts, makes namespaces and sets up networks'],
    fix: 'run as root',
  };
}

function disk(): Finding {
  const topic = 'disk';
  const { bavail, bsize } = statfsSync('/var/lib');
  const free = bavail * bsize;
  const found = `${(free / 2 ** 30).toFixed(1)} GiB free under /var/lib`;
  if (free >= comfortable) return { topic, state: 'fine', found };
  return {
    topic,
    state: 'degraded',
    found,
    meaning: ['images are stored there unless --root names another folder'],
    fix: 'free some space, or set --root',
  };
}

function inflater(): Finding {
  const { library, why } = gzipInflater();
  if (library !== undefined)
    return { topic: 'gzip', state: 'fine', found: `layers are inflated by ${library}` };
  return { topic: 'gzip', state: 'fine', found: `layers are inflated by Node, because ${why}` };
}

/** Tries fs-verity with a temporary file. */
function verity(): Finding {
  const topic = 'fs-verity';
  const place = '/var/lib';
  try {
    const folder = mkdtempSync(`${place}/portcullis-doctor-`);
    try {
      writeFileSync(`${folder}/file`, 'probe');
      const fd = openSync(`${folder}/file`, 'r');
      try {
        if (enableVerity(fd))
          return { topic, state: 'fine', found: `the kernel protects layer files under ${place}` };
      } finally {
        closeSync(fd);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  } catch (thrown) {
    return {
      topic,
      state: 'fine',
      found: `not tried under ${place}: ${fileReason(thrown, `${place}/portcullis-doctor-`)}`,
    };
  }
  const found = `none under ${place}: the daemon compares stored layers in the background (storage.checkDays)`;
  return { topic, state: 'fine', found };
}
