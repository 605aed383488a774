/** Another runtime, and what it makes of our plugins. */
export interface Judged {
  readonly start: () => void | Promise<void>;
  /** Whether all passed, and what links its pods left. */
  readonly judge: () => { readonly passed: boolean; readonly left: string };
  readonly stop: () => void;
}
