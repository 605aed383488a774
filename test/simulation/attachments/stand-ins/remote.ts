import type {
  RemoteAttachments,
  RemoteAttachmentsOptions,
} from '../../../../cni-plugins/libnetwork/client/attachments.ts';

/** Replaces `libnetwork/client/attachments.ts`: there are no libnetwork drivers. */
export function createRemoteAttachments({ engine }: RemoteAttachmentsOptions): RemoteAttachments {
  return { callPlugin: engine.callPlugin, recover: () => Promise.resolve() };
}
