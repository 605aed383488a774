import { setFlagsFromString } from 'node:v8';

// Imported first by every Node in the virtual machine. Where V8 would replace running code of WebAssembly by optimized code, it walks the
// stack, and on the emulated processor it meets an address there that is nobody's: most programs that strip many types died of it.
setFlagsFromString('--no-wasm-dynamic-tiering');
