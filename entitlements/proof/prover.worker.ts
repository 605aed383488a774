import { parentPort } from 'node:worker_threads';
import { asPortcullisError, errorToJson } from '../../base/errors/index.ts';
import { basePolicy } from '../compile/base-set.ts';
import { compile } from '../compile/compile.ts';
import { enforcedSyscalls } from '../compile/mount-rules.ts';
import { proveFilter } from './prove.ts';
import type { FromProver, ToProver } from './prover.types.ts';
import { threadClock } from './thread-clock.ts';

const port = parentPort;
if (port === null) throw new TypeError('this module runs in a Worker');

function answer({ profile, target, settings = compile(profile, target) }: ToProver): FromProver {
  const { architecture, runtime } = target;
  const base = basePolicy(runtime, settings.landlock !== undefined);
  // crun is handed the program; any other runtime compiles the OCI object.
  const compiledByRuntime = runtime !== 'crun';
  proveFilter({ policy: enforcedSyscalls(profile, target), architecture, base, compiledByRuntime }, settings.seccomp, {
    clock: threadClock,
  });
  return { settings };
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
