import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { asPortcullisError, errorToJson } from '../../base/errors/index.ts';
import { meet } from '../compare/lattice.ts';
import { basePolicy } from '../compile/base-set.ts';
import { compile } from '../compile/compile.ts';
import { settingsDigest } from '../compile/digest.ts';
import type { Settings } from '../types.ts';
import { enforcedSyscalls } from '../compile/mount-rules.ts';
import { proveFilter } from './prove.ts';
import type { FromProver, ProverData, ToProve, ToProver } from './prover.types.ts';
import { openSettingsStore } from './settings-store.ts';
import { threadClock } from './thread-clock.ts';

const port = parentPort;
if (port === null) throw new TypeError('this module runs in a Worker');

const { cacheFolder } = (workerData ?? {}) as ProverData;
// The bundle contains all code on which an entry depends. A source file does not: then nothing is kept.
const self = fileURLToPath(import.meta.url);
const store =
  cacheFolder === undefined || self.endsWith('.ts')
    ? undefined
    : openSettingsStore(cacheFolder, createHash('sha256').update(readFileSync(self)).digest('hex'));

function answer(question: ToProver): FromProver {
  if ('meet' in question) return { profile: question.meet.reduce((a, b) => meet(a, b)) };
  if (store === undefined || question.settings !== undefined) return { settings: proved(question) };
  const digest = settingsDigest(question.profile, question.target);
  const kept = store.read(digest);
  if (kept !== undefined) return { settings: kept };
  const settings = proved(question);
  store.write(digest, settings);
  return { settings };
}

function proved({ profile, target, settings = compile(profile, target) }: ToProve): Settings {
  const { architecture, runtime } = target;
  const base = basePolicy(runtime, settings.landlock !== undefined);
  // crun gets the program; any other runtime compiles the OCI object.
  const compiledByRuntime = runtime !== 'crun';
  proveFilter(
    { policy: enforcedSyscalls(profile, target), architecture, base, compiledByRuntime },
    settings.seccomp,
    {
      clock: threadClock,
    },
  );
  return settings;
}

port.on('message', (message: ToProver) => {
  let reply: FromProver;
  try {
    reply = answer(message);
  } catch (error) {
    const attempted = 'compile and prove profile';
    reply = {
      error: errorToJson(
        asPortcullisError(error, {
          code: 'ENTITLEMENTS_UNPROVED',
          kind: 'internal',
          attempted,
          on: '',
          fix: 'report this with the profile',
        }),
      ),
    };
  }
  port.postMessage(reply);
});
port.postMessage('ready' satisfies FromProver);
