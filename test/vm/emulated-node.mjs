import { setFlagsFromString } from 'node:v8';

// Every Node.js process in the virtual machine imports this file first. When V8 replaces running WebAssembly code by
// optimized code, it walks the stack, and on the emulated processor it finds an unmapped address there: most programs
// that strip many types crashed.
setFlagsFromString('--no-wasm-dynamic-tiering');
