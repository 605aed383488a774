/**
 * Preloaded into a command (`--import`), makes its process look like one on macOS of an ordinary user:
 * without /proc, /sys and /run, and unable to load native code.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

type Call = (...values: unknown[]) => unknown;

Object.defineProperty(process, 'platform', { value: 'darwin' });
Object.defineProperty(process, 'arch', { value: 'arm64' });
process.getuid = () => 501;
process.geteuid = () => 501;
process.dlopen = (_module: object, file: string) => {
  throw new Error(`native code is loaded: ${file}`);
};

for (const owner of [fs, fs.promises] as unknown as Record<string, unknown>[])
  for (const [name, call] of Object.entries(owner))
    if (typeof call === 'function' && /^[a-z]/u.test(name)) owner[name] = withoutLinux(name, call as Call);
syncBuiltinESMExports();

function withoutLinux(name: string, call: Call): Call {
  const here = function (this: unknown, ...values: unknown[]): unknown {
    const [path] = values;
    if (typeof path !== 'string' || !/^\/(?:proc|sys|run)(?:\/|$)/u.test(path))
      return call.apply(this, values);
    return name === 'existsSync' ? false : call.apply(this, [`/nonexistent${path}`, ...values.slice(1)]);
  };
  // `realpathSync.native` and the names that `promisify` looks for.
  return Object.defineProperties(here, Object.getOwnPropertyDescriptors(call));
}
