import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/**
 * Returns a folder for the state of the current user. Users do not share it: one user need not trust what
 * another user has seen. XDG_STATE_HOME counts if it is an absolute path (XDG base directory specification).
 */
export function userState(name: string): string {
  const given = process.env['XDG_STATE_HOME'] ?? '';
  return join(isAbsolute(given) ? given : join(homedir(), '.local', 'state'), 'portcullis', name);
}

/**
 * Returns the folder for the current user's own collections and keys: PORTCULLIS_TRUST_DIR, else a folder in
 * the home folder. An empty variable, such as a pipeline gives for an unset one, is not the current folder.
 */
export function ownCollections(): string {
  const given = process.env['PORTCULLIS_TRUST_DIR'] ?? '';
  return given === '' ? join(homedir(), '.portcullis', 'trust') : given;
}
