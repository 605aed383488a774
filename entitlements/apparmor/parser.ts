import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findAppArmorParser } from '../../base/process/index.ts';
import type { AppArmorParser } from '../../base/process/index.ts';
import { entitlementsError } from '../errors.ts';
import { readCompiledPolicy } from './compiled-policy.ts';
import type { CompiledProfile } from './compiled-policy.ts';
import { compiledWithin } from './containment.ts';
import type { AppArmorContainment } from './containment.ts';

/**
 * A path below the parser's base. Without the features of a kernel, the parser compiles for a kernel that has
 * none, and omits rules.
 */
const FEATURES = 'abi/3.0';
const MAX_TEXT = 1024 * 1024;
const PATIENCE_MS = 20_000;
const MAX_OUTPUT = 64 * 1024 * 1024;

/** Returns true if the requirement of {@link appArmorWithin} is installed: Debian's package `apparmor`. */
export function hasAppArmorParser(): boolean {
  return usableParser() !== undefined;
}

function usableParser(): (AppArmorParser & { readonly features: string }) | undefined {
  const parser = findAppArmorParser();
  if (parser === undefined) return undefined;
  const features = join(parser.base, FEATURES);
  return existsSync(features) ? { ...parser, features } : undefined;
}

/**
 * Decides whether the AppArmor text `inner` grants no more than `outer`. `apparmor_parser` compiles both for
 * the features of ABI 3.0 and loads nothing, and their automata are compared (see {@link compiledWithin}).
 * @throws ENTITLEMENTS_BAD_PROFILE with the parser's message (line and reason); ENTITLEMENTS_UNSUPPORTED
 * without the parser; ENTITLEMENTS_TOO_COMPLEX
 */
export async function appArmorWithin(inner: string, outer: string): Promise<AppArmorContainment> {
  const [ours, theirs] = await Promise.all([compiledAppArmor(inner), compiledAppArmor(outer)]);
  return compiledWithin(ours, theirs);
}

/** Returns the compiled profiles of a text. @throws as {@link appArmorWithin} */
async function compiledAppArmor(text: string): Promise<CompiledProfile[]> {
  const parser = usableParser();
  if (parser === undefined) throw unavailable();
  if (text.length > MAX_TEXT) throw refused(`it is longer than ${MAX_TEXT} characters`);
  const folder = await mkdtemp(join(tmpdir(), 'apparmor-'));
  try {
    const file = join(folder, 'profile');
    await writeFile(file, text, { mode: 0o600 });
    const args = [
      '--skip-kernel-load',
      '--skip-cache',
      '--quiet',
      '--stdout',
      '--config-file',
      '/dev/null',
      '--base',
      parser.base,
      '--features-file',
      parser.features,
      file,
    ];
    const compiled = await run(parser.program, args, file);
    const profiles = readCompiledPolicy(compiled);
    if (profiles.length === 0) throw refused('it contains no profile');
    return profiles;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function run(parser: string, args: readonly string[], file: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    execFile(
      parser,
      args,
      { encoding: 'buffer', timeout: PATIENCE_MS, maxBuffer: MAX_OUTPUT, env: { LC_ALL: 'C' } },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else if (error.killed === true)
          reject(refused(`apparmor_parser had not ended after ${PATIENCE_MS / 1000} s`));
        else reject(refused(stderr.toString('utf8').replaceAll(file, 'profile').trim().slice(0, 2_000)));
      },
    );
  });
}

function refused(why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'compile AppArmor profile',
    on: '',
    why: why === '' ? 'apparmor_parser does not say why' : why,
    fix: 'write it as apparmor.d(5) describes',
  });
}

function unavailable(): Error {
  return entitlementsError('ENTITLEMENTS_UNSUPPORTED', {
    kind: 'precondition',
    attempted: 'compile AppArmor profile',
    on: '',
    why: 'apparmor_parser or its description of kernel features is not installed',
    fix: 'install Debian’s package apparmor',
  });
}
