import { linkRequest, noOwnIpv6Attribute } from './links.ts';
import type { LinkName } from './links.ts';
import type { Request } from '../protocol/socket.ts';
import { attribute, nested, text, u8 } from '../protocol/wire.ts';
import {
  IFLA_IFALIAS,
  IFLA_LINKINFO,
  IFLA_BRPORT_ISOLATED,
  IFLA_BRPORT_MODE,
  IFLA_BRPORT_UNICAST_FLOOD,
  IFLA_INFO_SLAVE_DATA,
  IFLA_INFO_SLAVE_KIND,
} from './message-numbers.ts';

/** rtnetlink: what a link does as the port of a bridge. Source: linux/if_link.h. */

export interface PortSettings {
  /** The bridge may send a frame back to the port where it came from. */
  readonly hairpin: boolean;
  /** As in `setNoOwnIpv6`. */
  readonly noOwnIpv6: boolean;
  /** The port gets no frame for an address that the bridge does not know. */
  readonly onlyKnown?: boolean;
  /** The alias of the link, as `ip link` shows it. */
  readonly alias?: string;
}

/** Sets, in one message, what a bridge port needs before it comes up. Absent settings stay unchanged. */
export function setPortUp(
  link: LinkName,
  { hairpin, noOwnIpv6, onlyKnown = false, alias }: PortSettings,
): Request {
  const settings = [
    ...(hairpin ? [attribute(IFLA_BRPORT_MODE, u8(1))] : []),
    ...(onlyKnown ? [attribute(IFLA_BRPORT_UNICAST_FLOOD, u8(0))] : []),
  ];
  return portRequest(link, [
    ...(alias === undefined ? [] : [attribute(IFLA_IFALIAS, text(alias))]),
    ...(settings.length === 0 ? [] : [portAttributes(settings)]),
    ...(noOwnIpv6 ? [noOwnIpv6Attribute] : []),
  ]);
}

function portRequest(link: LinkName, attributes: readonly Buffer[]): Request {
  return linkRequest('set up the bridge port', link, attributes);
}

/** Sets what a bridge port does besides forwarding. Refused (EINVAL) for a link that is not a bridge port. */
export function setPort(
  link: LinkName,
  port: { readonly hairpin: boolean; readonly isolated: boolean },
): Request {
  return portRequest(link, [
    portAttributes([
      attribute(IFLA_BRPORT_MODE, u8(port.hairpin ? 1 : 0)),
      attribute(IFLA_BRPORT_ISOLATED, u8(port.isolated ? 1 : 0)),
    ]),
  ]);
}

function portAttributes(settings: readonly Buffer[]): Buffer {
  return nested(
    IFLA_LINKINFO,
    attribute(IFLA_INFO_SLAVE_KIND, text('bridge')),
    nested(IFLA_INFO_SLAVE_DATA, ...settings),
  );
}
