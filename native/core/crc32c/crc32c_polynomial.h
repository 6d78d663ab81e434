// Arithmetic with polynomials over GF(2) modulo that of CRC32C, for tables that are made while compiling.
//
// Bits are reflected, as the CRC has them: bit 31 of a 32-bit value is the coefficient of x^0, bit 0 that of x^31.
// To append n zero bits to a message is to multiply its CRC state by x^n.
#pragma once

#include <array>
#include <cstdint>

namespace segwal::crc32c {

inline constexpr uint32_t kPolynomial = 0x82f63b78;
inline constexpr uint32_t kOne = 0x80000000;

constexpr uint32_t MultiplyByX(uint32_t a) { return (a >> 1) ^ ((a & 1) != 0 ? kPolynomial : 0); }

constexpr uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t term = kOne; term != 0; term >>= 1) {
    if ((b & term) != 0) product ^= a;
    a = MultiplyByX(a);
  }
  return product;
}

constexpr uint32_t PowerOfX(uint64_t exponent) {
  uint32_t power = kOne;
  uint32_t square = MultiplyByX(kOne);
  for (; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) power = Multiply(power, square);
    square = Multiply(square, square);
  }
  return power;
}

static_assert(PowerOfX(32) == kPolynomial);

}  // namespace segwal::crc32c
