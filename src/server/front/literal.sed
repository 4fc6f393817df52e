# A text as literals of C, a line each.
s/^ *//
s/["\\]/\\&/g
s/^/"/
s/$/"/
