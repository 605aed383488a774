import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assemblerForArm64, assemblerForX64 } from './assembler.ts';
import type { Assembler } from './assembler.ts';

type Row = readonly [what: string, write: (a: Assembler) => void, x64: string, arm64: string];

/**
 * One instruction each, with the bytes by which GNU binutils 2.40 knows it. The arm64 column is in the order
 * of memory; each of its words is one instruction.
 */
const instructions: readonly Row[] = [
  // mov edi,0x12345678 · movz w0,#0x5678; movk w0,#0x1234,lsl #16
  ['set', (a) => a.set('a0', 0x1234_5678), '40bf78563412', '00cf8a52' + '8046a272'],
  // mov r12d,0xffffffff · movz w20,#0xffff; movk w20,#0xffff,lsl #16
  ['set, -1', (a) => a.set('s1', -1), '41bcffffffff', 'f4ff9f52' + 'f4ffbf72'],
  // mov rbx,rsp · add x19,sp,#0
  ['copy from sp', (a) => a.copy('s0', 'sp'), '4889e3', 'f3030091'],
  // mov rsp,rbx · add sp,x19,#0
  ['copy to sp', (a) => a.copy('sp', 's0'), '4889dc', '7f020091'],
  // mov r15,rax · orr x23,xzr,x0
  ['copy', (a) => a.copy('s4', 'result'), '4989c7', 'f70300aa'],
  // add r13,0x18 · add x21,x21,#0x18
  ['addTo', (a) => a.addTo('s2', 24), '4981c518000000', 'b5620091'],
  // add rsp,0xfffffffffffffe00 · sub sp,sp,#0x200
  ['addTo, below zero', (a) => a.addTo('sp', -512), '4881c400feffff', 'ff0308d1'],
  // add r12,r12 · add x20,x20,x20
  ['addRegister', (a) => a.addRegister('s1', 's1'), '4d01e4', '9402148b'],
  // sub r9,rsi · sub x9,x9,x1
  ['subtractRegister', (a) => a.subtractRegister('t', 'a1'), '4929f1', '290101cb'],
  // mov rsi,QWORD PTR [r13+0x10] · ldr x1,[x21,#16]
  ['load64', (a) => a.load64('a1', 's2', 16), '498bb510000000', 'a10a40f9'],
  // mov r9,QWORD PTR [rsp+0x8] · ldr x9,[sp,#8]
  ['load64 from the stack', (a) => a.load64('t', 'sp', 8), '4c8b8c2408000000', 'e90740f9'],
  // mov r9,QWORD PTR [r12+0x8] · ldr x9,[x20,#8]
  ['load64 from a base that needs a SIB byte', (a) => a.load64('t', 's1', 8), '4d8b8c2408000000', '890640f9'],
  // movzx r9d,WORD PTR [rsp+0x1c] · ldrh w9,[sp,#28]
  ['load16', (a) => a.load16('t', 'sp', 28), '440fb78c241c000000', 'e93b4079'],
  // movzx r9d,BYTE PTR [rdi+0x0] · ldrb w9,[x0]
  ['load8', (a) => a.load8('t', 'a0', 0), '440fb68f00000000', '09004039'],
  // mov QWORD PTR [rsp+0x100],r9 · str x9,[sp,#256]
  ['store64', (a) => a.store64('t', 'sp', 256), '4c898c2400010000', 'e98300f9'],
  // mov DWORD PTR [rsp+0x108],r15d · str w23,[sp,#264]
  ['store32', (a) => a.store32('s4', 'sp', 264), '4489bc2408010000', 'f70b01b9'],
  // mov BYTE PTR [r13+0x1],sil · strb w1,[x21,#1]
  ['store8', (a) => a.store8('a1', 's2', 1), '4188b501000000', 'a1060039'],
  // and r9d,0xf000 · movz w16,#0xf000; movk w16,#0x0,lsl #16; and w9,w9,w16
  ['and32', (a) => a.and32('t', 0xf000), '4181e100f00000', '10009e52' + '1000a072' + '2901100a'],
  // mov eax,0x1bd; syscall · movz w8,#0x1bd; movk w8,#0x0,lsl #16; svc #0
  ['call', (a) => a.call(445), 'b8bd0100000f05', 'a8378052' + '0800a072' + '010000d4'],
];

/** A jump over one instruction (`set`, of 6 bytes on x64 and 8 on arm64) to a label behind it. */
const forward = (jump: (a: Assembler) => void) => (a: Assembler) => {
  jump(a);
  a.set('a0', 0);
  a.label('there');
};
const skipped = { x64: '40bf00000000', arm64: '00008052' + '0000a072' };
const jumps: readonly Row[] = [
  // jmp +6 · b +12
  ['jump', (a) => a.jump('there'), 'e906000000', '03000014'],
  // test rax,rax; je +6 · cbz x0,+12
  ['jumpIfZero', (a) => a.jumpIfZero('result', 'there'), '4885c0' + '0f8406000000', '600000b4'],
  // test r9,r9; jne +6 · cbnz x9,+12
  ['jumpUnlessZero', (a) => a.jumpUnlessZero('t', 'there'), '4d85c9' + '0f8506000000', '690000b5'],
  // test eax,eax; js +6 · tbnz w0,#31,+12
  ['jumpIfNegative', (a) => a.jumpIfNegative('result', 'there'), '4085c0' + '0f8806000000', '6000f837'],
  // cmp eax,0xfffffffe; je +6 · movz w16,#0xfffe; movk w16,#0xffff,lsl #16; cmp w0,w16; b.eq +12
  [
    'jumpIfEqual',
    (a) => a.jumpIfEqual('result', -2, 'there'),
    '4081f8feffffff' + '0f8406000000',
    'd0ff9f52' + 'f0ffbf72' + '1f00106b' + '60000054',
  ],
];

const machines = [
  ['x64', assemblerForX64],
  ['arm64', assemblerForArm64],
] as const;

for (const [machine, create] of machines) {
  const assembled = (write: (a: Assembler) => void): string => {
    const assembler = create();
    write(assembler);
    return assembler.bytes().toString('hex');
  };

  describe(`instructions of ${machine}`, () => {
    for (const [what, write, x64, arm64] of instructions)
      it(what, () => assert.equal(assembled(write), machine === 'x64' ? x64 : arm64));
    for (const [what, write, x64, arm64] of jumps)
      it(`${what}, forward`, () =>
        assert.equal(assembled(forward(write)), (machine === 'x64' ? x64 : arm64) + skipped[machine]));

    it('a jump back to its own address', () => {
      const code = assembled((a) => {
        a.label('forever');
        a.jump('forever');
      });
      assert.equal(code, machine === 'x64' ? 'e9fbffffff' : '00000014');
    });

    it('a jump back over an instruction', () => {
      const code = assembled((a) => {
        a.label('again');
        a.addTo('s3', -1);
        a.jumpUnlessZero('s3', 'again');
      });
      const [x64, arm64] = ['4981c6ffffffff' + '4d85f6' + '0f85f0ffffff', 'd60600d1' + 'f6ffffb5'];
      assert.equal(code, machine === 'x64' ? x64 : arm64);
    });
  });

  describe(`${machine} refuses`, () => {
    const refused = (write: (a: Assembler) => void, message: RegExp): void =>
      void assert.throws(() => assembled(write), message);

    it('a jump to a label that is not in the program', () =>
      refused((a) => a.jump('nowhere'), /no label "nowhere"/u));

    it('a label that occurs twice', () => {
      refused((a) => {
        a.label('here');
        a.label('here');
      }, /label "here" occurs twice/u);
    });

    for (const [what, write] of [
      ['set', (a: Assembler) => a.set('a0', 2 ** 32)],
      ['set, below -2^31', (a: Assembler) => a.set('a0', -(2 ** 31) - 1)],
      ['set, a fraction', (a: Assembler) => a.set('a0', 0.5)],
      ['and32', (a: Assembler) => a.and32('t', 2 ** 32)],
      ['jumpIfEqual', (a: Assembler) => a.jumpIfEqual('t', 2 ** 32, 'here')],
      ['call', (a: Assembler) => a.call(NaN)],
    ] as const)
      it(`a value of more than 32 bits: ${what}`, () => refused(write, /not a value of 32 bits/u));

    it('an addition of more than 12 bits, which arm64 cannot encode', () => {
      for (const value of [4096, -4096]) refused((a) => a.addTo('s0', value), /addTo takes -4095 to 4095/u);
    });

    it('an offset that arm64 cannot encode', () => {
      for (const [write, most] of [
        [(offset: number) => (a: Assembler) => a.load64('t', 's0', offset), 4095 * 8],
        [(offset: number) => (a: Assembler) => a.store64('t', 's0', offset), 4095 * 8],
        [(offset: number) => (a: Assembler) => a.store32('t', 's0', offset), 4095 * 4],
        [(offset: number) => (a: Assembler) => a.load16('t', 's0', offset), 4095 * 2],
        [(offset: number) => (a: Assembler) => a.load8('t', 's0', offset), 4095],
        [(offset: number) => (a: Assembler) => a.store8('t', 's0', offset), 4095],
      ] as const) {
        assert.ok(assembled(write(most)).length > 0);
        refused(write(most + 8), /offset/u);
        refused(write(-8), /offset/u);
      }
      refused((a) => a.load64('t', 's0', 4), /offset/u);
    });

    it('the stack pointer where arm64 reads it as zero', () => {
      for (const write of [
        (a: Assembler) => a.set('sp', 0),
        (a: Assembler) => a.addRegister('sp', 's0'),
        (a: Assembler) => a.subtractRegister('s0', 'sp'),
        (a: Assembler) => a.load64('sp', 's0', 0),
        (a: Assembler) => a.store64('sp', 's0', 0),
        (a: Assembler) => a.and32('sp', 1),
        (a: Assembler) => a.jumpIfZero('sp', 'here'),
        (a: Assembler) => a.jumpIfEqual('sp', 0, 'here'),
      ])
        refused(write, /stack pointer/u);
    });
  });
}

it('arm64 refuses a jump by a tested bit that is longer than 32 KiB', () => {
  const assembler = assemblerForArm64();
  assembler.jumpIfNegative('result', 'far');
  for (let count = 0; count < 4096; count += 1) assembler.set('a0', 0);
  assembler.label('far');
  assert.throws(() => assembler.bytes(), /label "far" is too far away/u);
});
