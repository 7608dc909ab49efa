from train.data.labels.languages import Guess, languages_of

ENGLISH = {f"Your skin looks much better {number}.": Guess("en", 0.99) for number in range(3)}
HINDI = {f"आपकी त्वचा पहले से बेहतर है {number}": Guess("hi", 0.99) for number in range(2)}


def test_a_short_note_has_the_main_language_of_the_others():
    found = languages_of({**ENGLISH, "Bra, fine now": Guess("sv", 0.99)})

    assert found["Bra, fine now"] == "en"


def test_a_long_note_keeps_its_language_unless_the_guess_is_unsure():
    note = "La piel ha mejorado mucho desde enero"

    assert languages_of({**ENGLISH, note: Guess("es", 0.98)})[note] == "es"
    assert languages_of({**ENGLISH, note: Guess("ro", 0.4)})[note] == "en"


def test_a_short_note_in_another_script_is_not_counted_as_the_main_language():
    found = languages_of({**ENGLISH, **HINDI, "बेहतर": Guess("mr", 0.8), "좋아요": Guess("ko", 0.9)})

    assert found["बेहतर"] == "hi"
    assert found["좋아요"] == "ko"


def test_without_a_main_language_the_guess_stays():
    half = {"Your skin looks much better.": Guess("en", 0.99), "La piel ha mejorado mucho": Guess("es", 0.99)}

    assert languages_of({**half, "ok": Guess("fi", 0.9)})["ok"] == "fi"
    assert languages_of({"ok": Guess("fi", 0.9)}) == {"ok": "fi"}
    assert languages_of({"...": Guess("", 0.0)}) == {"...": ""}
