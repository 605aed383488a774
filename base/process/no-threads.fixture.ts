import { execFileSync } from 'node:child_process';
import { startWorker } from './index.ts';

// Run as an unprivileged user: the kernel lets root exceed this limit. From here on, no thread is created.
execFileSync('prlimit', ['--pid', String(process.pid), '--nproc=1:1']);
const worker = startWorker(import.meta.url, './none.worker.ts');
const seen = ['returned'];
worker.on('error', (error: NodeJS.ErrnoException) => seen.push(`error ${error.code}: ${error.message}`));
worker.on('exit', (code) => seen.push(`exit ${code}`));
worker.ref();
worker.postMessage('lost');
worker.unref();
seen.push(`terminated ${await worker.terminate()}`);
process.stdout.write(seen.join('\n'));
