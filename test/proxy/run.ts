/** `npm run test:proxy [-- --focus REGEX]`: see README.md. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { requirePeers, runPeer } from '../peers/runtimes.ts';

const { values } = parseArgs({ options: { focus: { type: 'string' } } });
requirePeers(['critest', 'critimages', 'crictl', 'containerd', 'ctr', 'runc']);
process.env['REFERRERS'] = '1';
// Pulls then sync the file system, on their own path in containerd.
process.env['CRI_IMAGES'] = 'image_pull_with_sync_fs = true';
const folder = mkdtempSync(join(tmpdir(), 'pc-peer-'));
// The root user of a pod with a user namespace must be able to pass through.
chmodSync(folder, 0o711);
const inside = join(import.meta.dirname, 'inside.ts');
const focus = values.focus === undefined ? [] : [values.focus];
const output = runPeer('containerd', folder, (socket) => [process.execPath, inside, socket, ...focus]);
rmSync(folder, { recursive: true, force: true });
process.exit(output.includes('::  all as expected') ? 0 : 1);
