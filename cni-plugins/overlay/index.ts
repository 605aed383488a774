export { startOverlay } from './overlay.ts';
export type { Overlay } from './overlay.ts';
export type { OverlayQuestion, OverlayStatus } from './protocol.ts';
export type { OverlaySettings } from './records/settings.ts';
