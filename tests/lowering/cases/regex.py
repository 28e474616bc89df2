"""Regular expressions in RE2's syntax."""

from lowering.cases.text import BULK, TEXT, case, one, s

PUNCTUATION = r"[!-/:-@\[-`{-~]"  # what Keras' TextVectorization strips, shortened

CASES = [
    case("StaticRegexReplace", "punctuation", BULK, pattern=r'[!"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~\']', rewrite=""),
    case("StaticRegexReplace", "first-only", s("aaa", "baab", ""), pattern="a", rewrite="b", replace_global=False),
    case("StaticRegexReplace", "groups", s("john smith", "a b c"), pattern=r"(\w+) (\w+)", rewrite=r"\2 \1 [\0]"),
    case("StaticRegexReplace", "empty-matches", s("abc", "", "aXbX", "日本", "baac"), pattern="x*", rewrite="-"),
    case("StaticRegexReplace", "empty-matches-a", s("abc", "", "aab", "caac"), pattern="a*", rewrite="-"),
    case("StaticRegexReplace", "empty-matches-bulk", BULK, pattern="a?", rewrite="|"),
    case("StaticRegexReplace", "unicode-class", BULK, pattern=r"\pL+", rewrite="W"),
    case("StaticRegexReplace", "not-letter", BULK, pattern=r"[^\p{Lu}a-z ]", rewrite="?"),
    case("StaticRegexReplace", "backslash", s("a.b"), pattern=r"\.", rewrite=r"\\"),
    case("StaticRegexReplace", "case-insensitive", s("Hello HELLO"), pattern="(?i)hello", rewrite="x"),
    case("StaticRegexReplace", "leftmost-first", s("abcd", "ab"), pattern="a|ab|abc", rewrite="<\\0>"),
    case("StaticRegexReplace", "optional-group", s("ab", "b"), pattern="(a)?b", rewrite="[\\1]"),
    case("StaticRegexReplace", "word-boundary", BULK, pattern=r"\b", rewrite="|"),
    case("StaticRegexReplace", "anchors", s("a\nb", "ab"), pattern="^a|b$", rewrite="x"),
    case("StaticRegexReplace", "multi-line", s("a\nb\na", "ab"), pattern="(?m)^a$", rewrite="x"),
    case("StaticRegexReplace", "dot-and-newline", s("a\nb"), pattern=".", rewrite="x"),
    case("StaticRegexReplace", "white-space-runs", TEXT, pattern=r"\s+", rewrite=" "),
    case("StaticRegexReplace", "no-such-group", s("abc"), pattern="(b)", rewrite=r"\2"),
    case("RegexReplace", "punctuation", TEXT, one(PUNCTUATION), one(" ")),
    case("RegexReplace", "first", TEXT, one("[a-z]"), one("_"), replace_global=False),
    case("RegexFullMatch", "letters", BULK, one(r"[\pL\s]*")),
    case("RegexFullMatch", "anchored", s("abc", "xabc", "abcx"), one("abc")),
    case("StaticRegexFullMatch", "alternatives", s("a", "ab", "abc"), pattern="a|ab"),
    case("StaticRegexFullMatch", "s3", s("s3://x", "/tmp/x"), pattern="^s3://.*"),
]
