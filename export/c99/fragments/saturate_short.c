static int8_t saturate_short(int32_t a)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    /* what __ssat of arm_acle.h is, which GCC itself warns of */
    return (int8_t)__builtin_arm_ssat(a, 8);
#elif defined(__ARM_FEATURE_SAT)
    return (int8_t)__ssat(a, 8);
#else
    return (int8_t)((a > 127) ? 127 : ((a < -128) ? -128 : a));
#endif
}
