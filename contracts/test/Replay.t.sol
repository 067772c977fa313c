// SPDX-License-Identifier: MIT OR Apache-2.0
// What is signed for one chain, contract, agreement and time is worth nothing for another.
pragma solidity 0.8.37;

import {IAgreements, State} from "../src/IAgreements.sol";
import {IMandates, Mandate} from "../src/IMandates.sol";
import {Activation, IRegistry, Role} from "../src/IRegistry.sol";
import {Release, Revision, Terms, Voucher} from "../src/Papers.sol";
import {AgreementId, MandateId} from "../src/Types.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// One message of each kind, signed by who must.
struct Signed {
    Activation activation;
    bytes activationSignature;
    Mandate mandate;
    bytes mandateSignature;
    Terms terms;
    bytes[2] termsSignatures;
    Revision revision;
    bytes[2] revisionSignatures;
    Release release;
    bytes releaseSignature;
    Voucher voucher;
    bytes voucherSignature;
}

contract ReplayTest is World {
    AgreementId private id;
    AgreementId private other;

    function setUp() public override {
        super.setUp();
        _fund(stranger.account, 1 ether);
        id = _active();
        other = _active();
    }

    // Across chains (the same contracts at the same addresses, as after a fork)

    function test_nothing_signed_for_one_chain_counts_on_another() public {
        Signed memory s = _signAll();
        vm.chainId(4242);
        _refuseBeginnings(s);
        _refusePapers(s);
        vm.chainId(31337);
        registry.activate(s.activation, s.activationSignature);
        mandates.accept(s.mandate, s.mandateSignature);
        agreements.open(s.terms, s.termsSignatures[0], s.termsSignatures[1]);
        agreements.submit(s.revision, s.revisionSignatures[0], s.revisionSignatures[1]);
        agreements.release(s.release, s.releaseSignature);
        agreements.redeem(s.voucher, s.voucherSignature);
    }

    // Across contracts

    function test_nothing_signed_for_one_deployment_counts_in_another() public {
        Signed memory s = _signAll();
        bytes32 before = agreements.hashTerms(s.terms);
        super.setUp();
        _fund(stranger.account, 1 ether);
        vm.assertTrue(agreements.hashTerms(s.terms) != before, "another id");
        _refuseBeginnings(s);
        // What is signed for an agreement names its id, which no other contract knows.
        bytes memory refusal = abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.None);
        vm.expectRevert(refusal);
        agreements.submit(s.revision, s.revisionSignatures[0], s.revisionSignatures[1]);
        vm.expectRevert(refusal);
        agreements.release(s.release, s.releaseSignature);
        vm.expectRevert(refusal);
        agreements.redeem(s.voucher, s.voucherSignature);
    }

    function test_one_message_does_not_pass_for_another_kind() public {
        // A release and a voucher of the same words: other type hashes, so other digests.
        Release memory release = Release({agreement: id, number: 2, storedBytes: 0});
        Voucher memory voucher = Voucher({agreement: id, amount: 2});
        vm.assertTrue(agreements.hashRelease(release) != agreements.hashVoucher(voucher), "digests");
        bytes memory signature = _sign(producer, agreements.hashRelease(release));
        vm.expectRevert();
        agreements.redeem(voucher, signature);
    }

    // Across agreements

    function test_nothing_signed_for_one_agreement_counts_for_another() public {
        Signed memory s = _signAll();
        (s.revision.agreement, s.release.agreement, s.voucher.agreement) = (other, other, other);
        _refusePapers(s);
    }

    function test_nothing_signed_for_one_account_role_or_mandate_counts_for_another() public {
        Signed memory s = _signAll();
        s.activation.role = Role.Producer;
        s.mandate.salt = "another";
        s.terms.salt = "another";
        _refuseBeginnings(s);
        (s.activation.account, s.mandate.producer) = (delegate.account, stranger.account);
        (s.terms.producer, s.terms.consumer) = (stranger.account, second.account);
        _refuseBeginnings(s);
    }

    // Across numbers

    function test_nothing_signed_for_one_number_or_amount_counts_for_another() public {
        Signed memory s = _signAll();
        (s.revision.number, s.release.number, s.voucher.amount) = (9, 9, 9);
        _refusePapers(s);
    }

    // Across time

    function test_nothing_works_twice() public {
        Terms memory terms = _terms();
        (bytes memory a, bytes memory b) = _both(agreements.hashTerms(terms));
        AgreementId opened = agreements.open(terms, a, b);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.AlreadyUsed.selector, opened));
        agreements.open(terms, a, b);

        Revision memory revision = _revision(id, 2);
        (a, b) = _both(agreements.hashRevision(revision));
        agreements.submit(revision, a, b);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.NotNewer.selector, id, 2, 2));
        agreements.submit(revision, a, b);

        Voucher memory voucher = Voucher({agreement: id, amount: 5});
        a = _sign(producer, agreements.hashVoucher(voucher));
        agreements.redeem(voucher, a);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.VoucherNotNewer.selector, id, 5, 5));
        agreements.redeem(voucher, a);

        Release memory release = Release({agreement: id, number: 3, storedBytes: 0});
        a = _sign(producer, agreements.hashRelease(release));
        agreements.release(release, a);
        _pass(49 hours);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.NotNewer.selector, id, 3, 3));
        agreements.release(release, a);
    }

    function test_a_revoked_mandate_is_not_accepted_again() public {
        Mandate memory mandate = _mandate();
        bytes memory signature = _sign(producer, mandates.hashMandate(mandate));
        MandateId accepted = mandates.accept(mandate, signature);
        vm.prank(producer.account);
        mandates.revoke(accepted);
        vm.expectRevert(abi.encodeWithSelector(IMandates.AlreadyAccepted.selector, accepted));
        mandates.accept(mandate, signature);
    }

    // Signatures themselves

    function test_the_second_form_of_a_signature_is_refused() public {
        Voucher memory voucher = Voucher({agreement: id, amount: 5});
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(producer.key, agreements.hashVoucher(voucher));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes memory mirrored = abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        vm.expectRevert(abi.encodeWithSignature("ECDSAInvalidSignatureS(bytes32)", bytes32(order - uint256(s))));
        agreements.redeem(voucher, mirrored);
        vm.expectRevert(abi.encodeWithSignature("ECDSAInvalidSignatureLength(uint256)", 64));
        agreements.redeem(voucher, abi.encodePacked(r, s));
        vm.expectRevert(abi.encodeWithSignature("ECDSAInvalidSignature()"));
        agreements.redeem(voucher, abi.encodePacked(r, s, uint8(29)));
        agreements.redeem(voucher, abi.encodePacked(r, s, v));
    }

    function test_nobodys_signature_is_nobodys() public {
        // A record that does not exist has the zero address as its producer, which no signature recovers to.
        AgreementId unknown = AgreementId.wrap("unknown");
        Revision memory revision = _revision(id, 2);
        revision.agreement = unknown;
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, unknown, State.None));
        agreements.submit(revision, new bytes(65), new bytes(65));
        Activation memory activation = _activation(stranger, Role.Consumer);
        activation.account = address(0);
        vm.expectRevert(abi.encodeWithSignature("ECDSAInvalidSignature()"));
        registry.activate(activation, new bytes(65));
    }

    function test_domain_and_types_are_those_of_the_documentation() public view {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("OpenBucket"),
                keccak256("1"),
                block.chainid,
                address(agreements)
            )
        );
        bytes32 message = keccak256(abi.encode(keccak256("Voucher(bytes32 agreement,uint128 amount)"), id, uint128(5)));
        vm.assertEq(
            agreements.hashVoucher(Voucher({agreement: id, amount: 5})),
            keccak256(abi.encodePacked(hex"1901", domain, message)),
            "digest"
        );
    }

    function _signAll() private returns (Signed memory s) {
        s.activation = _activation(stranger, Role.Consumer);
        s.activationSignature = _sign(stranger, registry.hashActivation(s.activation));
        s.mandate = _mandate();
        s.mandateSignature = _sign(producer, mandates.hashMandate(s.mandate));
        s.terms = _terms();
        (s.termsSignatures[0], s.termsSignatures[1]) = _both(agreements.hashTerms(s.terms));
        s.revision = _revision(id, 2);
        (s.revisionSignatures[0], s.revisionSignatures[1]) = _both(agreements.hashRevision(s.revision));
        s.release = Release({agreement: id, number: 3, storedBytes: 0});
        s.releaseSignature = _sign(producer, agreements.hashRelease(s.release));
        s.voucher = Voucher({agreement: id, amount: 5});
        s.voucherSignature = _sign(producer, agreements.hashVoucher(s.voucher));
    }

    /// By signatures over other words, nothing begins ...
    function _refuseBeginnings(Signed memory s) private {
        vm.expectPartialRevert(IRegistry.WrongSigner.selector);
        registry.activate(s.activation, s.activationSignature);
        vm.expectPartialRevert(IMandates.WrongSigner.selector);
        mandates.accept(s.mandate, s.mandateSignature);
        vm.expectPartialRevert(IAgreements.WrongSigner.selector);
        agreements.open(s.terms, s.termsSignatures[0], s.termsSignatures[1]);
    }

    /// ... and nothing changes that has begun.
    function _refusePapers(Signed memory s) private {
        vm.expectPartialRevert(IAgreements.WrongSigner.selector);
        agreements.submit(s.revision, s.revisionSignatures[0], s.revisionSignatures[1]);
        vm.expectPartialRevert(IAgreements.WrongSigner.selector);
        agreements.release(s.release, s.releaseSignature);
        vm.expectPartialRevert(IAgreements.WrongSigner.selector);
        agreements.redeem(s.voucher, s.voucherSignature);
    }

    function _both(bytes32 digest) private view returns (bytes memory, bytes memory) {
        return (_sign(producer, digest), _sign(consumer, digest));
    }
}
