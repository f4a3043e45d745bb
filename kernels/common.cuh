// What every kernel file begins with: names of types, the element types' few differences, warps and blocks.
//
// The same text is compiled by NVRTC for a card and by a C++ compiler for the emulator. Neither has headers of a standard
// library here, so nothing is included but files of this folder.
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;
