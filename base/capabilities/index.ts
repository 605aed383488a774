export { capabilityNames } from './capability-names.ts';
