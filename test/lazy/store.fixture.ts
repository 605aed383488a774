/** A store in a process that the test kills: pulls an image, mounts it for a container, waits. */
import { openKit } from '../../runtime/images/test-kit.ts';

const [host = '', folder = '', reference = ''] = process.argv.slice(2);
const kit = await openKit(host, { folder, lazy: true });
const { image } = await kit.store.pull({ reference, namespace: '' });
const { path } = await kit.store.mountRootfs('c1', image);
process.send?.(path);
setInterval(() => undefined, 1000);
