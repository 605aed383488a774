import type { RemoteAttachments, RemoteAttachmentsOptions } from '../../../../cni-plugins/cnm-client/attachments.ts';

/** In the place of `cnm-client/attachments.ts`: there are no drivers of libnetwork's. */
export function createRemoteAttachments({ engine }: RemoteAttachmentsOptions): RemoteAttachments {
  return { callPlugin: engine.callPlugin, recover: () => Promise.resolve() };
}
