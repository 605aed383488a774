import { attribute, attributesOf, text, textOf } from '../protocol/wire.ts';
import type { Attributes } from '../protocol/wire.ts';
import type { NetlinkSocket, Request } from '../protocol/socket.ts';

/** Generic netlink: families that the kernel numbers when they are loaded. Source: linux/genetlink.h. */

const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
const genlHeaderLength = 4;

/** struct genlmsghdr: command, version. */
export const genlHeader = (command: number, version: number): Buffer => Buffer.of(command, version, 0, 0);

/** Returns the attributes of a generic netlink message, and its command. */
export function genlBody(body: Buffer): { readonly command: number; readonly attributes: Attributes } {
  return { command: body[0] ?? 0, attributes: attributesOf(body, genlHeaderLength) };
}

/** Requests a family by its name. */
export function getFamily(name: string): Request {
  return {
    what: 'look up the generic netlink family',
    on: name,
    type: GENL_ID_CTRL,
    body: Buffer.concat([genlHeader(CTRL_CMD_GETFAMILY, 1), attribute(CTRL_ATTR_FAMILY_NAME, text(name))]),
  };
}

/**
 * Returns the number of a family for this boot of the kernel, or undefined if there is no family of that
 * name.
 * @throws NETWORK_KERNEL_* for any other refusal
 */
export function familyNumber(generic: NetlinkSocket, name: string): number | undefined {
  const answer = generic.find(getFamily(name), 'ENOENT');
  if (answer === undefined) return undefined;
  const { attributes } = genlBody(answer.body);
  return textOf(attributes.get(CTRL_ATTR_FAMILY_NAME)) === name
    ? attributes.get(CTRL_ATTR_FAMILY_ID)?.readUInt16LE(0)
    : undefined;
}
