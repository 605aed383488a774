/** Prints the number of the session keyring of this process (keyctl(2), KEYCTL_GET_KEYRING_ID). */
import { writeSync } from 'node:fs';
import { glibc } from '../ffi/libc.ts';
import { keyctlNumber } from './keyring.ts';

const KEYCTL_GET_KEYRING_ID = 0;
const KEY_SPEC_SESSION_KEYRING = -3;
const syscall = glibc('syscall', 'int64', ['long', 'int', 'int', 'int']);
writeSync(1, String(syscall(keyctlNumber(), KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)));
