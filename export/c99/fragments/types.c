/* -- what the tables are made of -------------------------------------------- */

/* Rows of a tensor. Places are bytes from the start of scratch. */
typedef struct {
    uint16_t bytes;        /* of a row */
    uint16_t keep;         /* rows that are kept */
    uint16_t ring;         /* where they are kept, bytes from the start of lines */
    uint16_t push_place;   /* of a new row while samples are pushed */
    uint16_t result_place; /* of the last rows, or of one of them, in a result */
    uint16_t whole;        /* whether all last rows lie there side by side */
    uint16_t period;       /* frames from row to row */
    uint16_t delay;        /* row j is there with frame delay + j * period */
    int32_t extra;         /* n frames have (n + extra) / period rows */
} line_t;

typedef struct {
    uint8_t kind;
    uint8_t part;      /* stages of a part go row by row together in a result */
    uint8_t taps;      /* rows of the first input */
    uint8_t more;      /* further inputs, one row of each */
    uint16_t dilation; /* rows from tap to tap */
    uint16_t stride;   /* rows of the input from row to row */
    uint16_t top;      /* border before the first row */
    uint16_t output;   /* line of its rows; where a pool puts its result */
    uint16_t push_work;
    uint16_t result_work;
    uint16_t period;
    uint16_t delay;
    int32_t extra;
    uint16_t input[MOST_INPUTS];
    uint16_t layer; /* of its kind of constants */
    uint16_t cost;  /* of a row, about so many times 64 instructions */
} stage_t;

/* Sums that a pool keeps in the state, and its constants. */
typedef struct {
    uint16_t sums;            /* where its sums begin */
    uint16_t sum_count;
    uint16_t references;      /* where its references begin */
    uint16_t reference_count;
    uint16_t layer;           /* of its kind of constants */
    uint32_t decay;           /* of the model, in steps of 2^-24 octaves from row to row */
    uint32_t per_millisecond; /* decay of a time constant of 1 ms; 0 cannot forget */
} pool_t;
