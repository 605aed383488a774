import { openTemporaryFolder } from './temporary-folder.ts';

// Holds a folder until it is killed.
const { path } = await openTemporaryFolder('portcullis-webhook-', process.argv[2]);
process.stdout.write(path);
setInterval(() => undefined, 1_000);
