import { readFileSync } from 'node:fs';
import { busyboxLayer, layerOf } from '../fixtures/image.ts';
import type { Publisher } from '../fixtures/publisher.ts';
import { findTool } from '../fixtures/tools.ts';

/** A kernel may lack SCTP. The pods of the suite would never be ready if their servers of SCTP ended. */
const agnhost = `#!/bin/sh
[ "$1" != porter ] || /agnhost-program "$@" || exec /agnhost-program pause
exec /agnhost-program "$@"
`;

/** Pushes the image of the suite's pods, and signs it. */
export async function publishAgnhost({ publish }: Publisher): Promise<void> {
  await publish('e2e-test-images/agnhost:2.45', {
    base: false,
    layers: [
      await busyboxLayer(),
      await layerOf([
        { name: 'agnhost', mode: 0o755, body: agnhost },
        { name: 'agnhost-program', mode: 0o755, body: readFileSync(findTool('agnhost').path) },
        { name: 'bin/bash', mode: 0o755, body: '#!/bin/sh\nexec /bin/sh "$@"\n' },
      ]),
    ],
    config: { Entrypoint: ['/agnhost'], Cmd: ['pause'] },
  });
}
