/** The attachment that a call is about (CNI specification 1.1, section 2, "Attachment Parameters"). */
export interface AttachmentKey {
  readonly network: string;
  /** CNI_CONTAINERID; for our own CRI the sandbox id. */
  readonly containerId: string;
  /** CNI_IFNAME. */
  readonly interface: string;
}
