import { layerOf } from '../fixtures/image.ts';
import type { ImageSource } from '../fixtures/image.ts';
import type { Stage } from '../fixtures/stage.ts';

const users = [
  {
    name: 'etc/passwd',
    body: 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n',
  },
  { name: 'etc/group', body: 'root:x:0:\ndaemon:x:1:\nwheel:x:10:root\nnogroup:x:65534:\n' },
];

/**
 * Publishes and signs images with the content that the suite expects of its own images.
 * @returns the TOML text for its option `-image-list`
 */
export async function publishImages(stage: Stage): Promise<string> {
  const shell = { config: { Cmd: ['sh'] }, layers: [await layerOf(users)] };
  const images: Readonly<Record<string, ImageSource>> = {
    Alpine: shell,
    BusyBox: shell,
    Pause: { config: { Entrypoint: ['/bin/sleep', '100000'], Cmd: null } },
    ResourceConsumer: shell,
  };
  let list = '';
  for (const [key, image] of Object.entries(images)) {
    const { reference } = await stage.publish(`integration/${key.toLowerCase()}:1`, image);
    list += `${key} = ${JSON.stringify(reference)}\n`;
  }
  return list;
}
